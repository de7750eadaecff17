"""Writing files so that they are whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from effscope.errors import EffscopeError


def make_folder(path: Path) -> Path:
    """Make a folder and its parents. Raises EffscopeError if something else stands there or it cannot be made."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EffscopeError(f"cannot make the folder {path}: {e.strerror or e}; choose another --out") from None
    return path


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a neighbour first, then renamed.

    Raises:
        EffscopeError: the place cannot be written to.
    """
    if not path.name:
        raise EffscopeError(f"cannot write to '{path}': give the name of a file")
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as e:
        raise EffscopeError(f"cannot write {path}: {e.strerror or e}; choose another place") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
