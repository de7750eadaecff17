"""Open any saved result. Its `result` key determines the class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from effscope import results
from effscope.errors import EffscopeError
from effscope.results.base import Result, read_json
from effscope.results.codec import KIND_KEY, kind_of

KINDS = {
    "rank": "RankResult",
    "cost": "CostResult",
    "tensors": "TensorsResult",
    "counters": "CountersResult",
    "layer_cost": "LayerCostResult",
    "scale": "ScaleResult",
    "diff": "DiffResult",
    "zoo": "ZooResult",
    "latency": "LatencyResult",
    "devices": "DevicesResult",
    "eval": "EvalResult",
    "compare": "CompareResult",
    "train": "TrainResult",
    "search": "SearchResult",
    "export": "ExportResult",
}
"""`result` key of a JSON file -> name of the class."""

RUNS = ("search.json", "train.json", "eval.json")
"""Main results of run folders: one of these files is preferred to other results in the folder."""

_HEAD = re.compile(rf'\s*(\[\s*)?\{{\s*"{KIND_KEY}"\s*:')
_HEAD_BYTES = 256


def load_result(path: str | Path) -> Result | tuple[Result, ...]:
    """Open any saved result.

    Args:
        path: a JSON file that `save` or a command wrote, or a folder with one such file (of a search, a training and an
            evaluation: search.json, train.json, eval.json).

    Returns:
        The result; a tuple for a file that holds a list of results.

    Raises:
        EffscopeError: no such file, no result in it, another format version, or not exactly one result in a folder.
    """
    place = Path(path)
    if place.is_dir():
        place = _only_result(place)
    data = read_json(place)
    try:
        if isinstance(data, list) and data:
            return tuple(_read(part).beside(place) for part in data)
        return _read(data).beside(place)
    except EffscopeError as e:
        raise EffscopeError(f"cannot read {place}: {e}") from None


def _read(data: Any) -> Result:
    kind = kind_of(data)
    if kind not in KINDS:
        raise EffscopeError(
            f"it holds a result of kind '{kind}', expected one of {', '.join(KINDS)}: open it with a newer effscope"
        )
    found: Result = getattr(results, KINDS[kind]).from_dict(data)
    return found


def _only_result(folder: Path) -> Path:
    """The JSON file with the result of a folder."""
    found = [folder / name for name in RUNS if (folder / name).is_file()]
    found = found or [file for file in sorted(folder.glob("*.json")) if _is_result(file)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise EffscopeError(f"{folder} holds no saved result: give a JSON file, or the folder of a run")
    raise EffscopeError(f"{folder} holds several results: give one of {', '.join(file.name for file in found)}")


def _is_result(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8", errors="replace") as text:
            return _HEAD.match(text.read(_HEAD_BYTES)) is not None
    except OSError:
        return False
