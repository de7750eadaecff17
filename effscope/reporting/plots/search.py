"""AP against FLOPs: the base and every candidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from effscope.reporting.page import Plot
from effscope.reporting.plots.style import BLUE, GREY, INK, MUTED, RED, figure
from effscope.results import ACCEPTED, SearchResult, place_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE, LOWEST, PREDICTED, START = "base", "limit", "predicted", "at once, before labelled training"

LOWEST_AP: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "noninferior": ("base minus margin: intervals must be above", lambda base, margin: base - margin),
    "margin": ("base minus margin", lambda base, margin: base - margin),
    "paper": ("base", lambda base, margin: base),
}
"""Rule -> the limit that AP, or its interval, must reach: words, and the value from the base's AP and the margin.

Other rules are drawn without this line.
"""


def search_plot(result: SearchResult) -> Plot:
    """Marks: the limit of the rule, the base, each trial with its AP at once and after training, predicted choices."""
    rows: list[dict[str, Any]] = []
    if result.rule in LOWEST_AP:
        words, limit = LOWEST_AP[result.rule]
        rows.append({"mark": LOWEST, "label": words, "ap": 100 * limit(result.base_ap, result.margin)})
    rows.append({"mark": BASE, "gflops": result.base_flops / 1e9, "ap": 100 * result.base_ap})
    rows += [
        {
            "mark": t.verdict,
            "label": f"candidate {n}" if t.stage is None else f"+ {place_name(t.stage)}",
            "gflops": t.flops / 1e9,
            "ap_start": 100 * t.ap_start,
            "ap": 100 * t.ap_mean,
            "low": None if t.ci is None else 100 * (t.ap_mean + t.ci[0] - t.delta),
            "high": None if t.ci is None else 100 * (t.ap_mean + t.ci[1] - t.delta),
        }
        for n, t in enumerate(result.trials, 1)
    ]
    rows += [
        {"mark": PREDICTED, "gflops": point.flops / 1e9, "ap_start": 100 * point.ap_at_once}
        for point in sorted(result.front, key=lambda point: point.flops)
        if point.verdict == PREDICTED and point.ap_at_once is not None
    ]
    title = f"AP against FLOPs, search on {result.base}"
    return Plot("ap_vs_cost", title, tuple(rows), draw_search, f"GFLOPs at {result.imgsz} px", "AP50-95 x 100")


def draw_search(plot: Plot) -> Figure:
    """A dashed line at the limit of the rule, a line through accepted models with intervals, hollow marks at once, a
    dotted line through predicted choices."""
    drawing = figure(7, 4.2)
    axes = drawing.subplots()
    trials = [row for row in plot.rows if row["mark"] not in {BASE, LOWEST, PREDICTED}]
    unmade = [row for row in plot.rows if row["mark"] == PREDICTED]
    base = next(row for row in plot.rows if row["mark"] == BASE)
    for row in plot.rows:
        if row["mark"] == LOWEST:
            _lowest(axes, row["ap"], row["label"])
    kept = [base, *(row for row in trials if row["mark"] == ACCEPTED)]
    axes.plot([row["gflops"] for row in kept], [row["ap"] for row in kept], color=BLUE, lw=1.5, zorder=1)
    axes.scatter([base["gflops"]], [base["ap"]], color=INK, s=46, zorder=3, label=BASE)
    if unmade:
        at = ([row["gflops"] for row in unmade], [row["ap_start"] for row in unmade])
        axes.plot(*at, color=GREY, lw=1, ls=":", marker="o", ms=3, mfc="white", zorder=0, label="at once, predicted")
    for row in trials:
        _trial(axes, row)
    for verdict in dict.fromkeys(row["mark"] for row in trials):
        axes.scatter([], [], color=_colour(verdict), s=42, label=verdict)
    axes.scatter([], [], facecolors="white", edgecolors=INK, s=28, label=START)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.margins(0.12, 0.18)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    drawing.legend(frameon=False, fontsize=8, loc="outside lower left", ncols=5, columnspacing=1.2)
    return drawing


def _lowest(axes: Axes, ap: float, words: str) -> None:
    axes.axhline(ap, color=GREY, lw=1, ls="--", zorder=0)
    axes.annotate(
        words, (1, ap), xycoords=("axes fraction", "data"), ha="right", va="top", fontsize=7, color=MUTED,
        xytext=(0, -2), textcoords="offset points",
    )  # fmt: skip


def _trial(axes: Axes, row: Any) -> None:
    x, colour = row["gflops"], _colour(row["mark"])
    axes.plot([x, x], [row["ap_start"], row["ap"]], color=colour, lw=0.8, alpha=0.5)
    axes.scatter([x], [row["ap_start"]], facecolors="white", edgecolors=colour, s=28, zorder=2)
    axes.scatter([x], [row["ap"]], color=colour, s=42, zorder=3)
    if row["low"] is not None:
        axes.errorbar([x], [row["ap"]], [[row["ap"] - row["low"]], [row["high"] - row["ap"]]], color=colour, capsize=3)
    axes.annotate(
        row["label"], (x, max(row["ap"], row["ap_start"], row["high"] or 0.0)), rotation=40, fontsize=8, color=colour,
        xytext=(2, 7), textcoords="offset points",
    )  # fmt: skip


def _colour(verdict: str) -> str:
    return BLUE if verdict == ACCEPTED else RED
