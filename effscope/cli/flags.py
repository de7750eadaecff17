"""How messages name settings: the engines write `imgsz`, the command line prints --imgsz."""

from __future__ import annotations

import re

OTHERWISE = {"counter": "--as", "convention": "--as", "centred": "--uncentred", "models": "MODEL", "model": "MODEL"}
"""Settings with a flag of another name."""

NO_FLAGS = frozenset({"distil", "spectra", "load_result", "save", "files", "inputs", "rank"})
"""Names in messages that have no flag: settings of the Python functions, and a function."""

_NAME = re.compile(r"`([a-z][a-z0-9_]*)`")


def as_flags(text: str) -> str:
    """Replace every setting in backticks by its flag."""
    return _NAME.sub(_flag, text)


def _flag(found: re.Match[str]) -> str:
    name = found[1]
    return found[0] if name in NO_FLAGS else OTHERWISE.get(name, f"--{name.replace('_', '-')}")
