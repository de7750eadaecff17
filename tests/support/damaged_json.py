"""Random damage of JSON tables, in their values or in their text."""

from __future__ import annotations

import json
import random
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 4, 7, 12, 36, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, 1.5, -0.0, 1e308,
    float("inf"), float("-inf"), float("nan"), "", "x", "F32", "U8", "BF16", "F8_E4M3", "weight_0", "a\nb", "../x",
    "/etc/passwd", "\x1b[31m", "\ud800", "ö" * 300, "torch.ops.aten.conv2d.default", [], {}, [[]], [0], [2, 3],
    [1] * 70, {"name": "x"}, {"as_int": 2}, {"as_tensor": {"name": "x"}}, {"as_tensor": 1},
)  # fmt: skip
"""Values that replace those of the table."""

TEXTS = (
    "{",
    "}",
    "[",
    "]",
    '"',
    ",",
    ":",
    "\\",
    "\\u0000",
    "null",
    "NaN",
    "-",
    "1e999",
    "9" * 5000,
    "[" * 3000,
    "\x00",
)
"""Texts that are put in at random places."""


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """The table with one to three changes."""
    text = data.decode("utf-8", "replace").rstrip(" ")
    if rng.random() < 0.2:
        return with_text(text, rng).encode("utf-8", "replace")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return with_text(text, rng).encode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 3))):
        change(table, rng)
    return json.dumps(table).encode()


def with_text(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(TEXTS) + text[at + rng.randrange(3) :]


def change(table: Any, rng: random.Random) -> None:
    """Change one value in the table: a random walk from its root ends at a random depth."""
    holder, keys = table, list_keys(table)
    while keys:
        key = rng.choice(keys)
        below = list_keys(holder[key])
        if not below or rng.random() < 0.15:
            _change_at(holder, key, rng)
            return
        holder, keys = holder[key], below


def list_keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []


def _change_at(holder: Any, key: Any, rng: random.Random) -> None:
    kind = rng.random()
    if kind < 0.6:
        holder[key] = rng.choice(VALUES)
    elif kind < 0.7:
        del holder[key]
    elif kind < 0.8:
        other = rng.choice(list_keys(holder))
        holder[key], holder[other] = holder[other], holder[key]
    elif kind < 0.9 and isinstance(holder[key], int):
        holder[key] = rng.choice((-holder[key], 2 * holder[key], holder[key] + 1, holder[key] - 1))
    elif isinstance(holder, list):
        holder.extend([holder[key]] * rng.choice((1, 100)))
    else:
        holder[rng.choice(("", "a\nb", "x.weight", "__metadata__", str(key) * 50))] = holder.pop(key)
