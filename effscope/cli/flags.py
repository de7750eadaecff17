"""How messages name settings: the engines write `imgsz`, the command line prints --imgsz."""

from __future__ import annotations

import re

OTHERWISE = {"counter": "--as", "convention": "--as", "centred": "--uncentred", "models": "MODEL", "model": "MODEL"}
"""Settings whose flag is not their name."""

NO_FLAGS = frozenset({"learned_ap", "distil", "spectra", "load_result", "save", "files"})
"""Names in messages that no flag sets."""

_NAME = re.compile(r"`([a-z][a-z0-9_]*)`")


def as_flags(text: str) -> str:
    """The text with every setting in backticks written as its flag."""
    return _NAME.sub(_flag, text)


def _flag(found: re.Match[str]) -> str:
    name = found[1]
    return found[0] if name in NO_FLAGS else OTHERWISE.get(name, f"--{name.replace('_', '-')}")
