"""Write files completely or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from effscope.errors import EffscopeError, first_line


def make_folder(path: Path) -> Path:
    """Make a folder and its parents.

    Raises:
        EffscopeError: a file of this name exists, or the folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise EffscopeError(f"cannot make the folder {path}: {e.strerror or e}; choose another `out`") from None
    return path


@contextlib.contextmanager
def whole(path: Path, errors: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """Write a file completely or not at all: yields a draft, and renames it to the file when the block ends.

    If the block raises, or the draft cannot be renamed, the draft is deleted and an older file stays as it was.

    Args:
        path: the file; missing folders are made.
        errors: exceptions other than OSError by which a writer reports that it cannot write.

    Yields:
        The path of the draft, in the folder of the file.

    Raises:
        EffscopeError: the file cannot be written.
    """
    if not path.name:
        raise EffscopeError(f"cannot write to '{path}': give the name of a file")
    if path.is_dir():
        raise EffscopeError(f"cannot write {path}: it is a folder; give the name of a file")
    failures: tuple[type[Exception], ...] = (OSError, *errors)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    except failures as e:
        reason = getattr(e, "strerror", None) or first_line(e)
        raise EffscopeError(f"cannot write {path}: {reason}; check the folder and the free disk space") from e
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
"""Name of a draft of `whole`."""


def sweep(folder: Path) -> None:
    """Delete the drafts that killed processes left in a folder. Nobody else may be writing there."""
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.tmp"):
            if _DRAFT.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Write several files, all or none: yields an empty folder, and moves its files into `folder` when the block ends.

    If the block raises, nothing is left of it: older files stay as they were, new folders are removed.

    Yields:
        A hidden folder inside `folder`.

    Raises:
        EffscopeError: a file cannot be put in its place. The message names the files that already are.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    draft = make_folder(folder) / f".{uuid.uuid4().hex}.tmp"
    placed: list[str] = []
    try:
        make_folder(draft)
        yield draft
        for path in sorted(draft.iterdir()):
            if (folder / path.name).is_dir():
                raise EffscopeError(f"cannot write {folder / path.name}: it is a folder; choose another `out`")
        for path in sorted(draft.iterdir()):
            path.replace(folder / path.name)
            placed.append(path.name)
    except OSError as e:
        left = f"; already written: {', '.join(placed)}" if placed else ""
        raise EffscopeError(f"cannot write into {folder}: {e.strerror or e}{left}") from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with contextlib.suppress(OSError):  # a folder with files in it stays
            for path in new:
                path.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, completely or not at all. Raises EffscopeError if it cannot be written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, completely or not at all. Raises EffscopeError if it cannot be written."""
    with whole(path) as draft:
        draft.write_bytes(data)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as csv text with a header, in the order of the keys.

    A missing key is an empty cell. In a cell, a list of numbers is joined by spaces,
    a list of strings by semicolons, the values of a dict by colons.
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
