"""How a result shows itself in Python: a few lines as text, a table in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

MOST_ROWS = 60
"""Rows of a table in a notebook."""

THOUSAND = 1000
DIGITS = 4
"""Significant digits of a number in a table."""


def number(value: float) -> str:
    """A number for reading: whole numbers with commas, others with four significant digits."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 10**DIGITS else f"{value:.{DIGITS}g}"


def with_prefix(value: float) -> str:
    """A large number with the prefix of its unit: `950`, `3.16 M`, `8.74 G`."""
    for prefix in ("", " k", " M", " G"):
        if abs(value) < THOUSAND:
            return f"{value:.2f}{prefix}" if prefix else number(value)
        value /= THOUSAND
    return f"{value:.2f} T"


def percent(fraction: float) -> str:
    """A fraction as a signed change in percent: `-12.3 %`."""
    return f"{100 * fraction:+.1f} %"


def listed(words: Sequence[object], most: int = 8) -> str:
    """Words with commas; after `most` of them only how many more."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more


def cell(value: Any) -> str:
    """A value of a table as text; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return (" x " if all(isinstance(part, int) for part in value) else ", ").join(map(cell, value))
    return str(value)


def html_table(lines: Sequence[str], columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """HTML of a result: its lines, the first one bold, and the columns of its main table.

    Args:
        lines: what the result says of itself.
        columns: keys of the rows.
        rows: the main table; at most `MOST_ROWS` of them are shown.
    """
    first, *others = map(escape, lines)
    said = "".join(f"<div>{line}</div>" for line in (f"<b>{first}</b>", *others))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(_td(row.get(name)) for name in columns)}</tr>" for row in rows[:MOST_ROWS])
    left = len(rows) - MOST_ROWS
    more = f"<div>... {left:,} more row{'s' * (left > 1)}: to_frame()</div>" if left > 0 else ""
    return f"<div>{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}</div>"


def _td(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td style="text-align: {"right" if is_number else "left"}">{escape(cell(value))}</td>'
