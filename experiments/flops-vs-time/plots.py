"""The plot of measured times against FLOPs and against a roofline: layers, blocks, models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages import SE, Key, Row, cells, pairs, time

from effscope.costing.roofline import Device
from effscope.reporting.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, figure

CROWD = (0.15, 0.34)
"""From and to: predicted time as a share of the longest measured time where names would overlap."""

MARKS = {
    "standard": (INK, "o"), "dw, pw": (BLUE, "s"), "pw, dw": (ORANGE, "^"), "bottleneck": (INK, "o"),
    "inverted residual": (GREEN, "D"), "cib": (BLUE, "s"), "cib, large kernel": (SKY, "P"),
    "ghost bottleneck": (ORANGE, "^"), "convnext": (PURPLE, "X"),
}  # fmt: skip
"""Form -> colour and marker, different ones within a panel."""

PANELS = {
    "layers": "forms of a 3x3 convolution (hollow: with SE)",
    "blocks": "blocks of a stage",
    "models": "detectors",
}
"""How the name of a part begins -> title of its panel."""


def draw(rows: Sequence[Row], machine: Device, path: Path) -> None:
    """Save the measured times against those that FLOPs predict at the peak (above) and the roofline (below)."""
    drawing = figure(10.5, 6.4)
    grid = drawing.subplots(2, 3, sharex="col", sharey="col")
    predictions: dict[str, Key] = {
        "ms by FLOPs at the peak": lambda row: 1e9 * row.mflops / machine.peak("float32"),
        "ms by the roofline": lambda row: row.predicted_ms,
    }
    for axes_of, (label, predicted) in zip(grid, predictions.items(), strict=True):
        for axes, (part, title) in zip(axes_of, PANELS.items(), strict=True):
            chosen = [row for row in rows if row.part.startswith(part)]
            (_detectors if part == "models" else _forms)(axes, chosen, predicted)
            low, high = min(map(predicted, chosen)), max(map(time, chosen))
            axes.plot([low, high], [low, high], color=INK, lw=0.8, ls=":")
            wrong, total = pairs(chosen, predicted)
            axes.set_title(f"{title}\n{len(wrong)} of {total} pairs misled", fontsize=8, loc="left")
            axes.set_xlabel(label, fontsize=8)
            axes.tick_params(labelsize=7, labelbottom=True)
            axes.spines[["top", "right"]].set_visible(False)
        axes_of[0].set_ylabel("ms measured, least", fontsize=8)
    title = f"one image on {machine.name}, float32, eager torch; dotted: measured = predicted"
    drawing.suptitle(title, fontsize=10, x=0.02, ha="left")
    for axes in grid[0][:2]:
        axes.legend(frameon=False, fontsize=7, loc="upper left", handletextpad=0.2)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, metadata={"Software": None})


def _forms(axes: Any, rows: Sequence[Row], predicted: Key) -> None:
    """One colour and marker for each form, a grey line through the forms of a cell; both axes are logarithmic."""
    for group in cells(rows):
        axes.plot([predicted(r) for r in group], [time(r) for r in group], color=GREY, lw=0.3, zorder=0)
    for form in dict.fromkeys(row.form for row in rows):
        points = [row for row in rows if row.form == form]
        colour, marker = MARKS[form.removesuffix(SE)]
        axes.scatter(
            [predicted(r) for r in points], [time(r) for r in points], s=18, marker=marker, edgecolors=colour,
            facecolors="white" if form.endswith(SE) else colour, label=None if form.endswith(SE) else form,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")


def _detectors(axes: Any, rows: Sequence[Row], predicted: Key) -> None:
    """Named points; the names of the many small ones are in a column at the left."""
    high, place = max(map(time, rows)), 0.0
    axes.scatter([predicted(row) for row in rows], [time(row) for row in rows], s=14, color=BLUE)
    for row in sorted(rows, key=time):
        x, y = predicted(row) + 0.03 * high, time(row)
        if CROWD[0] < predicted(row) / high < CROWD[1]:
            place = max(place + 0.055 * high, y)
            x, y = 0.02 * high, place
        line = {"arrowstyle": "-", "lw": 0.3, "color": GREY}
        axes.annotate(row.form, (predicted(row), time(row)), (x, y), fontsize=6, va="center", arrowprops=line)
    axes.set_xlim(0, 0.85 * high)
    axes.set_ylim(0, 1.08 * high)
