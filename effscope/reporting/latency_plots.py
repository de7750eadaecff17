"""A picture of times: for every model a bar of its parts as measured, and below it one as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.reporting.latency_tables import TOTAL, measured_on
from effscope.reporting.plots import BLUE, GREY, INK, RED, figure, save
from effscope.results import LatencyResult, LatencyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGES = ("#1f4e86", BLUE, "#5b93cf", "#8fb6e0", "#2a8c82", "#4fae9f", "#83c9bc", "#b3ded6")
"""Colours of stages, over again for more of them."""

OTHERS = {"between stages": GREY, "head": "#d9822b", "forward": BLUE}
"""Colours of what is no stage; post-processing is red."""

LEAST_WIDTH = 0.022
"""Share of the axis a segment needs to carry its name."""


def plot_latency(result: LatencyResult, path: Path) -> Path:
    """Stacked bars in ms: parts of the pass, then the first post-processing that a total holds; numbers are stages."""
    from matplotlib.patches import Patch  # noqa: PLC0415 - slow import

    models = list(dict.fromkeys(row.model for row in result.rows))
    picture = figure(8, 1.5 + 0.75 * len(models))
    axes = picture.subplots()
    shown = [_segments(result, model) for model in models]
    widest = max(sum(max(row.median_ms, row.predicted_ms or 0.0) for row in rows) for rows in shown)
    ticks: dict[float, str] = {}
    for n, (model, rows) in enumerate(zip(models, shown, strict=True)):
        for word, off, values in (
            ("measured", -0.2, [row.median_ms for row in rows]),
            ("roofline", 0.2, [row.predicted_ms or 0.0 for row in rows]),
        ):
            ticks[n + off] = f"{model}  {word}"
            _stack(axes, n + off, rows, values, LEAST_WIDTH * widest)
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * widest)
    axes.set_xlabel(f"ms; roofline of {result.predicted_for}, {result.predicted_dtype}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    picture.suptitle(f"one image of {result.imgsz} px on {measured_on(result)}", fontsize=10, x=0.02, ha="left")
    colours: dict[str, str] = {}
    for row in (row for rows in shown for row in rows):
        colours.setdefault(_family(row), _colour(row.part))
    handles = [Patch(color=colour, label=name) for name, colour in colours.items()]
    picture.legend(handles=handles, frameon=False, fontsize=8, loc="outside lower center", ncols=5)
    return save(picture, path)


def _segments(result: LatencyResult, model: str) -> list[LatencyRow]:
    """The parts of the pass, scaled to sum to it, or the pass in one piece, then post-processing of the first total."""
    rows, share = [row for row in result.rows if row.model == model], result.parts_over_whole.get(model, 1.0)
    pieces = [replace(row, median_ms=row.median_ms / share) for row in rows if row.kind == "part"] or [
        row for row in rows if row.kind == "whole"
    ]
    counted = [row.part.removeprefix(TOTAL) for row in rows if row.part.startswith(TOTAL)][:1]
    return pieces + [row for row in rows if row.kind == "post" and row.part in counted]


def _stack(axes: Axes, y: float, rows: Sequence[LatencyRow], values: Sequence[float], least: float) -> None:
    """One bar of segments, numbers of stages inside, the sum behind it."""
    left = 0.0
    for row, width in zip(rows, values, strict=True):
        axes.barh(y, width, 0.34, left, color=_colour(row.part), edgecolor="white", lw=0.5)
        if _number(row.part) and width > least:
            axes.text(left + width / 2, y, _number(row.part), ha="center", va="center", fontsize=7, color="white")
        left += width
    axes.annotate(
        f"{left:.1f}", (left, y), va="center", fontsize=8, color=INK, xytext=(4, 0), textcoords="offset points"
    )


def _number(part: str) -> str:
    """Number of a stage; nothing of what is none."""
    return part.removeprefix("stage ") if part.startswith("stage ") else ""


def _family(row: LatencyRow) -> str:
    """What the legend calls a segment."""
    return "post-processing" if row.kind == "post" else "stages by number" if _number(row.part) else row.part


def _colour(part: str) -> str:
    number = _number(part)
    return STAGES[(int(number) - 1) % len(STAGES)] if number else OTHERS.get(part, RED)
