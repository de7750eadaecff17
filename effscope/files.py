"""Writing files so that they are whole or not there."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as csv text with a header, in the order of the keys.

    A missing key is an empty cell. Spaces join the numbers of a list, semicolons
    its texts, colons the values of a dict.
    """
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ":".join(map(str, value.values()))
    if isinstance(value, list | tuple):
        return ("; " if any(isinstance(part, str) for part in value) else " ").join(str(_cell(part)) for part in value)
    return value
