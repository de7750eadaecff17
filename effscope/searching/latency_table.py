"""Latencies that a user measured on the device: a csv file with the columns stage, move, ms."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable
from math import isfinite
from pathlib import Path

from effscope.errors import EffscopeError
from effscope.results import Change, Latency
from effscope.searching.policies.library import WHOLE, part_key, piece_key

COLUMNS = ("stage", "move", "ms")


def piece_names(changes: Iterable[Change]) -> tuple[str, ...]:
    """Names of the pieces to time for some changes: the whole model, every part before, every changed part."""
    listed = tuple(changes)
    return tuple(dict.fromkeys([WHOLE, *map(part_key, listed), *map(piece_key, listed)]))


def template(names: Iterable[str]) -> str:
    """The csv file to fill in with the times of these pieces."""
    rows = [name.split(" ") if " " in name else [name, ""] for name in names]
    return "\n".join([",".join(COLUMNS), *(f"{stage},{move}," for stage, move in rows)]) + "\n"


def read_table(path: Path, changes: Collection[Change]) -> dict[str, Latency]:
    """The latencies of a file: name of a piece -> latency. Rows without a time are left out.

    Raises:
        EffscopeError: the file cannot be read, a column is missing, a piece is unknown or has two times, a time is not
            a number above 0, or the time of the whole model is missing.
    """
    try:
        reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EffscopeError(f"`latency_table`: cannot read {path}: {e}") from None
    known, found = piece_names(changes), {}
    for line, row in rows:
        if not set(COLUMNS) <= set(row):
            raise EffscopeError(f"{path} needs the columns {', '.join(COLUMNS)}")
        name = " ".join(filter(None, ((row["stage"] or "").strip(), (row["move"] or "").strip())))
        if name not in known:
            raise EffscopeError(f"{path}, line {line}: no piece '{name}' in this search: there are {', '.join(known)}")
        text = (row["ms"] or "").strip()
        if name in found and text:
            raise EffscopeError(f"{path}, line {line}: a second time of '{name}': leave one")
        if text:
            found[name] = Latency(_ms(text, path, line), 0.0)
    if WHOLE not in found:
        raise EffscopeError(f"{path} has no time of the whole model: add a line {WHOLE},,MS")
    return found


def _ms(text: str, path: Path, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0 or not isfinite(value):
        raise EffscopeError(f"{path}, line {line}: ms must be a number above 0, got {text!r:.50}")
    return value
