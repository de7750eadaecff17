"""Times of models: one bar of measured parts per model, and below it one bar of predicted parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from effscope.config import size_words
from effscope.reporting.page import Plot
from effscope.reporting.plots.style import BLUE, GREY, INK, ORANGE, RED, figure
from effscope.results import LatencyResult, LatencyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNTIMES = {"torch": "torch, eager", "onnx": "onnxruntime"}
TOTAL = "Latency with "
"""Prefix of the name of a total; the name of its post-processing follows."""

STAGES = ("#1f4e86", BLUE, "#5b93cf", "#8fb6e0", "#2a8c82", "#4fae9f", "#83c9bc", "#b3ded6")
"""Colours of stages; they repeat."""

OTHERS = {"between stages": GREY, "head": ORANGE, "forward": BLUE}
"""Colours of the other parts of a pass; post-processing is red."""

BARS = {"measured": -0.2, "roofline": 0.2}
"""Bar of a model -> offset from the model's y position."""

LEAST_WIDTH = 0.022
"""Share of the axis width from which a segment shows its number."""


def measured_on(result: LatencyResult) -> str:
    """Device, threads, dtype and runtime in words."""
    threads = "" if result.threads is None else f", {result.threads} thread{'s' * (result.threads != 1)}"
    return f"{result.device}{threads}, {result.dtype}, {RUNTIMES[result.runtime]}"


def latency_plot(result: LatencyResult) -> Plot:
    """Segments in ms from left to right: parts of the pass, then the first post-processing that a total includes."""
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(row.model for row in result.rows):
        for bar in BARS:
            left = 0.0
            for part in _segments(result, model):
                width = part.median_ms if bar == "measured" else part.predicted_ms or 0.0
                rows.append(
                    {
                        "model": model,
                        "bar": bar,
                        "part": part.part,
                        "family": _family(part),
                        "left_ms": left,
                        "width_ms": width,
                    }
                )
                left += width
    return Plot(
        "latency",
        f"one image of {size_words(result.imgsz)} on {measured_on(result)}",
        tuple(rows),
        draw_latency,
        f"ms; roofline of {result.predicted_for}, {result.predicted_dtype}",
    )


def _segments(result: LatencyResult, model: str) -> list[LatencyRow]:
    """The parts of the pass, scaled to sum to it, or the whole pass; then the post-processing of the first total."""
    rows, share = [row for row in result.rows if row.model == model], result.parts_over_whole.get(model, 1.0)
    pieces = [replace(row, median_ms=row.median_ms / share) for row in rows if row.kind == "part"] or [
        row for row in rows if row.kind == "whole"
    ]
    counted = [row.part.removeprefix(TOTAL) for row in rows if row.part.startswith(TOTAL)][:1]
    return pieces + [row for row in rows if row.kind == "post" and row.part in counted]


def _number(part: str) -> str:
    """Number of a stage; empty for other parts."""
    return part.removeprefix("stage ") if part.startswith("stage ") else ""


def _family(row: LatencyRow) -> str:
    """Legend entry of a segment."""
    return "post-processing" if row.kind == "post" else "stages by number" if _number(row.part) else row.part


def _colour(part: str) -> str:
    number = _number(part)
    return STAGES[(int(number) - 1) % len(STAGES)] if number else OTHERS.get(part, RED)


def draw_latency(plot: Plot) -> Figure:
    """Stacked bars with stage numbers inside and the sum at the end."""
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow import

    models = list(dict.fromkeys(row["model"] for row in plot.rows))
    drawing = figure(8, 1.5 + 0.75 * len(models))
    axes = drawing.subplots()
    widest = max((row["left_ms"] + row["width_ms"] for row in plot.rows), default=1.0)
    ticks = {n + offset: f"{model}  {bar}" for n, model in enumerate(models) for bar, offset in BARS.items()}
    for row in plot.rows:
        _segment(axes, models.index(row["model"]) + BARS[row["bar"]], row, LEAST_WIDTH * widest)
    for y, end in _ends(plot, models).items():
        axes.annotate(
            f"{end:.1f}", (end, y), va="center", fontsize=8, color=INK, xytext=(4, 0), textcoords="offset points"
        )
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * widest)
    axes.set_xlabel(plot.x, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    colours: dict[str, str] = {}
    for row in plot.rows:
        colours.setdefault(row["family"], _colour(row["part"]))
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    drawing.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=5)
    return drawing


def _segment(axes: Axes, y: float, row: Mapping[str, Any], least: float) -> None:
    left, width, number = row["left_ms"], row["width_ms"], _number(row["part"])
    axes.barh(y, width, 0.34, left, color=_colour(row["part"]), edgecolor="white", lw=0.5)
    if number and width > least:
        axes.text(left + width / 2, y, number, ha="center", va="center", fontsize=7, color="white")


def _ends(plot: Plot, models: list[str]) -> dict[float, float]:
    """y position of each bar -> its length in ms."""
    ends: dict[float, float] = {}
    for row in plot.rows:
        y = models.index(row["model"]) + BARS[row["bar"]]
        ends[y] = row["left_ms"] + row["width_ms"]
    return ends
