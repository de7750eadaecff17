"""What a search for a target has to offer: AP against the cost that the user asked to save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effscope.reporting.page import Plot
from effscope.reporting.plots.search import MARKS, OTHER_MARK, START, WORDS, Cost, about
from effscope.reporting.plots.style import GREY, INK, MUTED, figure
from effscope.results import FrontPoint, SearchResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREDICTED, TARGET, AP_AXIS = "predicted", "target", "AP50-95 x 100"

COSTS = {"params": "parameters", "flops": "FLOPs", "latency": "time"}
"""Cost of a target -> its word on the axis."""


def front_plot(result: SearchResult) -> Plot:
    """Rows: a mark per model with what it saves of the cost named first in the target, in % of the user's model."""
    cost = next(iter(result.target), "params")
    timed = all(point.latency_ms for point in result.front)
    cost = cost if cost != "latency" or timed else "params"
    whole = _whole(result, cost)
    rows: tuple[dict[str, Any], ...] = tuple(
        {
            "mark": point.verdict,
            "saved": 100 * (1 - _cost(point, cost) / whole),
            "ap_start": None if point.ap_at_once is None else 100 * point.ap_at_once,
            "ap": None if point.ap is None else 100 * point.ap,
        }
        for point in result.front
    )
    asked = result.target.get(cost)
    rows += ({"mark": TARGET, "saved": 100 * asked},) if asked else ()
    title = f"What can be had: {about(result)}"
    return Plot("front", title, rows, draw_front, f"saved {COSTS[cost]}, % of your model", AP_AXIS)


def _cost(point: FrontPoint, cost: str) -> float:
    return {"params": point.params, "flops": point.flops, "latency": point.latency_ms or 0.0}[cost]


def _whole(result: SearchResult, cost: str) -> float:
    """What the user's model costs; in results of older versions, the base."""
    whole = Cost.of_given(result)
    return {"params": whole.params, "flops": whole.flops, "latency": whole.latency.ms if whole.latency else 1.0}[cost]


def draw_front(plot: Plot) -> Figure:
    """Predicted choices hollow on a dotted line, judged models filled; the shape says the verdict."""
    drawing = figure(7, 3.8)
    axes = drawing.subplots()
    for row in plot.rows:
        if row["mark"] == TARGET:
            axes.axvline(row["saved"], color=MUTED, lw=1, ls="--", zorder=0, label="target")
    points = [row for row in plot.rows if row["mark"] != TARGET]
    predicted = [row for row in points if row["mark"] == PREDICTED and row["ap_start"] is not None]
    if predicted:
        at = ([row["saved"] for row in predicted], [row["ap_start"] for row in predicted])
        axes.plot(*at, color=GREY, ls=":", lw=1.2, zorder=0)
        axes.scatter(
            *at, facecolors="white", edgecolors=INK, marker="o", s=26, clip_on=False, label="at once, predicted"
        )
    made = [row for row in points if row["mark"] != PREDICTED]
    starts = [row for row in made if row["ap_start"] is not None]
    if starts:
        at = ([row["saved"] for row in starts], [row["ap_start"] for row in starts])
        axes.scatter(*at, facecolors="white", edgecolors=INK, marker="s", s=90, label=START)
    for verdict in dict.fromkeys(row["mark"] for row in made):
        colour, marker = MARKS.get(verdict, OTHER_MARK)
        rows = [row for row in made if row["mark"] == verdict and row["ap"] is not None]
        label = WORDS.get(verdict, f"trained, {verdict}")
        at = ([row["saved"] for row in rows], [row["ap"] for row in rows])
        axes.scatter(*at, color=colour, marker=marker, s=46, zorder=3, label=label)
    axes.set_ylim(0, None)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    drawing.legend(frameon=False, fontsize=8, loc="outside lower left", ncols=4)
    return drawing
