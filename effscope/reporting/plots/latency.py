"""Times of models: one bar of measured parts per model, and below it one bar of predicted parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from effscope.config import size_words
from effscope.reporting.page import Plot
from effscope.reporting.plots.style import BLUE, GREY, INK, ORANGE, RED, SKY, figure
from effscope.results import LatencyResult, LatencyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNTIMES = {"torch": "torch, eager", "onnx": "onnxruntime"}
TOTAL = "Latency with "
"""Prefix of the name of a total; the name of its post-processing follows."""

STAGES = (BLUE, SKY)
"""Colours of stages, in turn; a number stands in each."""

OTHERS = {"between stages": (GREY, ""), "head": (ORANGE, "///"), "forward": (BLUE, "")}
"""Colour and hatch of the other parts of a pass."""

POST = (RED, "xxx")
"""Colour and hatch of post-processing."""

BARS = {"measured": -0.2, "roofline": 0.2}
"""Bar of a model -> offset from the model's y position."""

LEAST_WIDTH = 0.022
"""Share of the axis width from which a segment shows its number."""


def measured_on(result: LatencyResult) -> str:
    """Device, threads, dtype and runtime in words."""
    threads = "" if result.threads is None else f", {result.threads} thread{'s' * (result.threads != 1)}"
    return f"{result.device}{threads}, {result.dtype}, {RUNTIMES[result.runtime]}"


def latency_plot(result: LatencyResult) -> Plot:
    """Segments in ms from left to right: parts of the pass, then the first post-processing that a total includes.

    The measured segments of a model sum to its time with that post-processing.
    """
    rows: list[dict[str, Any]] = []
    for model in dict.fromkeys(row.model for row in result.rows):
        spread = _whole(result, model).iqr_ms
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
                        "spread_ms": spread if bar == "measured" else 0.0,
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
    """The parts of the pass, or the whole pass; then the post-processing of the first total. They sum to that total."""
    rows, total = [row for row in result.rows if row.model == model], _whole(result, model)
    pieces = [row for row in rows if row.kind == "part"] or [row for row in rows if row.kind == "whole"]
    post = [row for row in rows if row.kind == "post" and row.part == total.part.removeprefix(TOTAL)]
    share = (total.median_ms - sum(row.median_ms for row in post)) / sum(row.median_ms for row in pieces)
    return [replace(row, median_ms=row.median_ms * share) for row in pieces] + post


def _whole(result: LatencyResult, model: str) -> LatencyRow:
    """The first total with post-processing; without one the forward pass."""
    rows = [row for row in result.rows if row.model == model]
    return next((row for row in rows if row.part.startswith(TOTAL)), next(row for row in rows if row.kind == "whole"))


def _number(part: str) -> str:
    """Number of a stage; empty for other parts."""
    return part.removeprefix("stage ") if part.startswith("stage ") else ""


def _family(row: LatencyRow) -> str:
    """Legend entry of a segment."""
    return "post-processing" if row.kind == "post" else "stages by number" if _number(row.part) else row.part


def _fill(part: str) -> dict[str, Any]:
    """Colour and hatch of a segment, as arguments of a patch."""
    number = _number(part)
    colour, hatch = (STAGES[int(number) % len(STAGES)], "") if number else OTHERS.get(part, POST)
    return {"facecolor": colour, "hatch": hatch, "edgecolor": "white"}


def _on(part: str) -> str:
    """Colour of the number on a stage's segment."""
    return "white" if _fill(part)["facecolor"] == BLUE else INK


def draw_latency(plot: Plot) -> Figure:
    """Stacked bars with stage numbers inside and the sum at the end."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow import
    from matplotlib.patches import Patch  # noqa: PLC0415

    models = list(dict.fromkeys(row["model"] for row in plot.rows))
    drawing = figure(8, 1.5 + 0.75 * len(models))
    axes = drawing.subplots()
    widest = max((row["left_ms"] + row["width_ms"] for row in plot.rows), default=1.0)
    ticks = {n + offset: f"{model}  {bar}" for n, model in enumerate(models) for bar, offset in BARS.items()}
    for row in plot.rows:
        _segment(axes, models.index(row["model"]) + BARS[row["bar"]], row, LEAST_WIDTH * widest)
    for y, (end, spread) in _ends(plot, models).items():
        if spread:
            axes.errorbar([end], [y], xerr=spread / 2, color=INK, capsize=2.5, lw=1)
        axes.annotate(
            f"{end:.1f}", (end + spread / 2, y), va="center", fontsize=8, color=INK, xytext=(4, 0),
            textcoords="offset points",
        )  # fmt: skip
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * widest)
    axes.set_xlabel(plot.x, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    fills: dict[str, dict[str, Any]] = {}
    for row in plot.rows:
        fills.setdefault(row["family"], _fill(row["part"]))
    handles: list[Any] = [Patch(**fill, label=name) for name, fill in fills.items()]
    handles.append(Line2D([], [], color=INK, marker="|", ls="-", label="middle half of the rounds"))
    drawing.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=5)
    return drawing


def _segment(axes: Axes, y: float, row: Mapping[str, Any], least: float) -> None:
    left, width, number = row["left_ms"], row["width_ms"], _number(row["part"])
    axes.barh(y, width, 0.34, left, lw=0.5, **_fill(row["part"]))
    if number and width > least:
        axes.text(left + width / 2, y, number, ha="center", va="center", fontsize=7, color=_on(row["part"]))


def _ends(plot: Plot, models: list[str]) -> dict[float, tuple[float, float]]:
    """y position of each bar -> its length and its interquartile range, in ms."""
    ends: dict[float, tuple[float, float]] = {}
    for row in plot.rows:
        y = models.index(row["model"]) + BARS[row["bar"]]
        ends[y] = (row["left_ms"] + row["width_ms"], row["spread_ms"])
    return ends
