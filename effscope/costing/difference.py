"""Two models side by side: what each stage costs in one and in the other."""

from __future__ import annotations

from effscope.config import DiffConfig
from effscope.results import CostResult, CostRow, DiffResult, DiffRow, origin

TOTALS = {"params": "params_one_head", "macs": "macs", "flops": "flops"}
"""What is summed -> the field of a cost that holds it."""


def difference(a: CostResult, b: CostResult) -> DiffResult:
    """Costs per stage of two models counted at one image size; parts only one of them has stand alone."""
    of_a, of_b = ({row.name: row for row in cost.stages} for cost in (a, b))
    total = {name: _against(getattr(a, field), getattr(b, field)) for name, field in TOTALS.items()}
    rows = tuple(_row(part, of_a.get(part), of_b.get(part)) for part in dict.fromkeys([*of_a, *of_b]))
    return DiffResult(a.model, b.model, a.imgsz, rows, total, origin(DiffConfig(a.imgsz)))


def _against(a: int, b: int) -> dict[str, float]:
    return {"a": a, "b": b, "change": b / a - 1 if a else 0.0}


def _row(part: str, a: CostRow | None, b: CostRow | None) -> DiffRow:
    both = [None if row is None else getattr(row, name) for name in ("params", "macs", "flops") for row in (a, b)]
    return DiffRow(part, *both)
