"""What a call does beside its result: code that runs, imports, files that it opens, text that it prints."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import effscope

FORBIDDEN = (
    "os.", "shutil.", "subprocess.", "socket.", "ctypes.", "exec", "import", "pickle.find_class", "code.__new__",
    "marshal.", "webbrowser.", "urllib.", "signal.", "mmap.", "sqlite3.", "pty.", "sys.settrace", "sys.setprofile",
)  # fmt: skip
"""Beginnings of the names of audit events that reading a file never raises, once all of effscope is imported."""

HARMLESS = ("os.listdir", "os.scandir")
INSTALLED = (sys.prefix, sys.base_prefix, str(Path(effscope.__file__).parent))
SYNTAX_ERROR = "<unknown>"
"""Python looks for a file of this name, to show the line of a syntax error."""

_watched: list[tuple[Path, list[str]]] = []
"""The folder that may be read, and the events seen, while a call is watched."""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _watched:
        return
    folder, seen = _watched[-1]
    if event == "open":
        path, mode = str(args[0]), args[1]
        wrote = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        ours = path.startswith((str(folder), *INSTALLED, "/proc/", "/sys/")) or path.isdigit()
        if wrote or not (ours or path == SYNTAX_ERROR):
            seen.append(f"open {path[:80]!r} {mode}")
    elif event.startswith(FORBIDDEN) and event not in HARMLESS:
        seen.append(f"{event} {args[:1]!r:.80}")


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """A list that gets what happens meanwhile: code that runs, imports, files written or read outside of the folder,
    text printed.
    """
    if not getattr(sys, "_effscope_watch", False):  # a hook of Python cannot be removed
        sys.addaudithook(_hook)
        sys._effscope_watch = True  # type: ignore[attr-defined]
    seen: list[str] = []
    said = io.StringIO()
    _watched.append((folder, seen))
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield seen
    finally:
        _watched.pop()
        if said.getvalue():
            seen.append(f"print {said.getvalue()!r:.240}")
