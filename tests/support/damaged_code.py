"""Random damage of the code text in TorchScript archives."""

from __future__ import annotations

import random
import re

CANARY = "effscope_canary"
"""A module that leaves a mark where it is imported. Damaged files name it."""

MARK = "mark"
"""The file that code of a damaged file would make."""

LINES = (
    f"open('{MARK}', 'w').write('x')",
    f"__import__('{CANARY}').run()",
    f"import {CANARY}",
    f"from {CANARY} import *",
    f"exec(\"open('{MARK}', 'w')\")",
    f"@{CANARY}.run",
    f"__import__('os').system('touch {MARK}')",
    "return self",
    "return",
    "return self.forward(self, x)",
    "x = self.body",
    "x = self",
    "x = getattr(self, 'body')",
    "x = (self.body).forward(x, x, x, )",
    "x = (self).forward(x, )",
    "self = x",
    "while True:\n      pass",
    "for i in range(10**9):\n      x = x + i",
    "lambda: (yield)",
    "class Module(Module):\n  __parameters__ = [",
    "def forward(self, x):\n    return x",
    "async def forward(self): await x",
    "match x:\n      case [*_]: pass",
    "raise SystemExit",
    "assert False",
    "global x",
    "del x",
    "x: int",
    "try:\n      x\n    finally:\n      x",
    "_0 = torch.batch_norm(x, x, x, self.body.running_mean, x, True, 0.1, 'eps', True)",
    "_1 = torch._convolution(x, self.weight, None, [1, 1], [0, 0], [1, 1], None, [0, 0], None, False)",
    "_2 = torch.conv2d(x, self.weight, None, [1], [0], [1], 1j)",
    "_3 = torch._convolution(input=x, weight=x, bias=x, stride=x, padding=x, dilation=x, transposed=x, groups=x)",
    "\x00",
    "\t\f\\",
    "'''",
    "if 1:",
    "ℵ = ½",
)
"""Lines that are put into the code."""

WORDS = (
    "None", "True", "self", "...", "-1", "0", "1e999", "1j", "''", "'x'", "b'x'", "9" * 5000, "0x", "x", "forward",
    "nan", "f'{x}'", "(yield)", "await x", "*x", "**x", "x:=1", "[]", "{}", "lambda: 0", "torch", "CONSTANTS.c0",
    "weight", "__torch__", "training", "running_mean", "batch_norm", "_convolution", "class", "return", "=",
    ")", "(", "\n", "\\",
)  # fmt: skip
"""Words that replace those of the code."""


def damaged_code(data: bytes, rng: random.Random) -> bytes:
    """The code with one to four changes."""
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 4))):
        text = rng.choice((with_line, with_line, with_word, with_word, with_number, nested, without_line, doubled))(
            text, rng
        )
    return text.encode("utf-8", "replace")


def with_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), " " * rng.choice((0, 2, 4, 4, 4, 6)) + rng.choice(LINES))
    return "\n".join(lines)


def without_line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def with_word(text: str, rng: random.Random) -> str:
    words = list(re.finditer(r"\w+|[^\w\s]", text))
    if not words:
        return rng.choice(WORDS)
    found = rng.choice(words)
    other = rng.choice(WORDS) if rng.random() < 0.7 else rng.choice(words)[0]
    return text[: found.start()] + other + text[found.end() :]


def with_number(text: str, rng: random.Random) -> str:
    """A number, a truth or a None of the code becomes another constant."""
    numbers = list(re.finditer(r"\b(\d[\d.e+-]*|True|False|None)\b", text))
    if not numbers:
        return with_word(text, rng)
    found = rng.choice(numbers)
    return text[: found.start()] + rng.choice(WORDS[:12]) + text[found.end() :]


def nested(text: str, rng: random.Random) -> str:
    """A line with deep nesting, of great length, or with many statements."""
    n = rng.choice((10, 90, 250, 1_000, 5_000, 20_000))
    line = rng.choice((
        "x = " + "(" * n + "x" + ")" * n,
        "x = " + "[" * n + "]" * n,
        "x = " + "-" * n + "1",
        "x = " + "not " * n + "x",
        "x = x" + ".body" * n,
        "x = x" + "(x)" * n,
        "x = x" + "[0]" * n,
        "x = " + "x + " * n + "x",
        "x = " + "f(" * n + ")" * n,
        "x = " + "lambda: " * n + "x",
        "x = [" + "x, " * n + "]",
        "x = '" + "a" * n + "'",
        "x" * n + " = x",
        "; ".join(["x = x"] * n),
        " = ".join(["x"] * n),
        "".join("\n" + " " * (4 + k) + "if x:" for k in range(min(n, 400))) + " pass",
    ))  # fmt: skip
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), "    " + line)
    return "\n".join(lines)


def doubled(text: str, rng: random.Random) -> str:
    """A block of lines again, up to 300 times."""
    lines = text.split("\n")
    at, n = rng.randrange(len(lines)), rng.randint(1, 30)
    return "\n".join([*lines[: at + n], *lines[at : at + n] * rng.choice((1, 2, 20, 300)), *lines[at + n :]])
