"""What can be had: judged models and predicted choices, by cost."""

from __future__ import annotations

from effscope.reporting.page import Part, Rows, Table, points, signed
from effscope.reporting.plots.front import front_plot
from effscope.results import FrontPoint, SearchResult, plain, spelled

COLUMNS = ("changes", "params", "FLOPs", "ms", "AP at once", "trained", "verdict")
NARROW = ("FLOPs", "ms")
"""Columns that a narrow terminal leaves out, in this order."""


def front_table(result: SearchResult) -> tuple[Part, ...]:
    """A row per model, the largest first."""
    whole = result.given
    params, flops = (whole.params, whole.flops) if whole else (result.base_params, result.base_flops)
    timed = any(point.latency_ms for point in result.front)
    columns = tuple(column for column in COLUMNS if timed or column != "ms")
    cells = []
    for point in result.front:
        known = {
            "changes": spelled(point.changes),
            "params": f"{point.params / 1e6:.2f} M" if not point.changes else _saved(point.params, params),
            "FLOPs": f"{point.flops / 1e9:.2f} G" if not point.changes else _saved(point.flops, flops),
            "ms": "" if point.latency_ms is None else f"{point.latency_ms:.1f}",
            "AP at once": "" if point.ap_at_once is None else points(point.ap_at_once),
            "trained": "" if point.ap is None else points(point.ap),
            "verdict": point.verdict,
        }
        cells.append(tuple(known[column] for column in columns))
    notes = (
        "AP x 100; 'predicted': not made; AP at once and ms of the base, minus what each change costs and saves alone",
        "'params' and 'FLOPs' in % of your model",
    )
    left = frozenset({"changes", "verdict"})
    table = Table("models by cost, judged or predicted", columns, tuple(cells), left, notes, NARROW)
    return (table, front_plot(result), Rows("front", [_flat(point) for point in result.front]))


def _saved(cost: int, whole: int) -> str:
    return f"{signed(100 * (cost / whole - 1))} %"


def _flat(point: FrontPoint) -> dict[str, object]:
    return {**plain(point), "changes": spelled(point.changes)}
