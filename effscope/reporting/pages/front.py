"""What can be had: judged models and predicted choices, by cost."""

from __future__ import annotations

from effscope.reporting.page import Part, Rows, Table, points
from effscope.results import FrontPoint, SearchResult, plain, spelled

COLUMNS = ("changes", "params", "FLOPs", "ms", "AP at once", "trained", "verdict")
NARROW = ("FLOPs", "ms")
"""Columns that a narrow terminal leaves out, in this order."""


def front_table(result: SearchResult) -> tuple[Part, ...]:
    """A row per model, the largest first."""
    base, given = next(point for point in result.front if not point.changes), result.given
    params, flops = (given.params, given.flops) if given else (base.params, base.flops)
    timed = any(point.latency_ms for point in result.front)
    columns = tuple(column for column in COLUMNS if timed or column != "ms")
    cells = []
    for point in result.front:
        known = {
            "changes": spelled(point.changes),
            "params": f"{point.params / 1e6:.2f} M" if point is base else _saved(point.params, params),
            "FLOPs": f"{point.flops / 1e9:.2f} G" if point is base else _saved(point.flops, flops),
            "ms": "" if point.latency_ms is None else f"{point.latency_ms:.1f}",
            "AP at once": "" if point.ap_at_once is None else points(point.ap_at_once),
            "trained": "" if point.ap is None else points(point.ap),
            "verdict": point.verdict,
        }
        cells.append(tuple(known[column] for column in columns))
    notes = (
        "AP x 100; 'predicted': not made, the base's AP at once and time less what each change costs and saves alone",
        "costs against your model",
    )
    left = frozenset({"changes", "verdict"})
    table = Table("models by cost, judged or predicted", columns, tuple(cells), left, notes, NARROW)
    return (table, Rows("front", [_flat(point) for point in result.front]))


def _saved(cost: int, whole: int) -> str:
    return f"{100 * (cost / whole - 1):+.1f} %"


def _flat(point: FrontPoint) -> dict[str, object]:
    return {**plain(point), "changes": spelled(point.changes)}
