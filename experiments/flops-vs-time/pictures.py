"""The picture of measured layers, blocks and models beside FLOPs and a roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages import SE, Key, Row, cells, pairs, time

from effscope.costing.roofline import Device
from effscope.reporting.plots import BLUE, GREY, INK, figure, save

CROWD = (0.15, 0.34)
"""Promised times over the longest measured one, between which names need room."""

COLOURS = {
    "standard": INK, "dw, pw": BLUE, "pw, dw": "#d9822b", "bottleneck": INK, "inverted residual": "#2e8b57",
    "cib": BLUE, "cib, large kernel": "#46a6b8", "ghost bottleneck": "#d9822b", "convnext": "#7d5ba6",
}  # fmt: skip
PANELS = {
    "layers": "forms of a 3x3 convolution (hollow: with SE)",
    "blocks": "blocks of a stage",
    "models": "detectors",
}
"""Beginning of a part -> what its panel is called."""


def picture(rows: Sequence[Row], machine: Device, path: Path) -> None:
    """Measured time over what FLOPs alone promise at the peak (above) and over what the roofline promises (below)."""
    drawn = figure(10.5, 6.4)
    grid = drawn.subplots(2, 3, sharex="col", sharey="col")
    promises: dict[str, Key] = {
        "ms by FLOPs at the peak": lambda row: 1e9 * row.mflops / machine.peak("float32"),
        "ms by the roofline": lambda row: row.predicted_ms,
    }
    for axes_of, (label, promised) in zip(grid, promises.items(), strict=True):
        for axes, (part, title) in zip(axes_of, PANELS.items(), strict=True):
            chosen = [row for row in rows if row.part.startswith(part)]
            (_detectors if part == "models" else _forms)(axes, chosen, promised)
            low, high = min(map(promised, chosen)), max(map(time, chosen))
            axes.plot([low, high], [low, high], color=INK, lw=0.8, ls=":")
            wrong, total = pairs(chosen, promised)
            axes.set_title(f"{title}\n{len(wrong)} of {total} pairs misled", fontsize=8, loc="left")
            axes.set_xlabel(label, fontsize=8)
            axes.tick_params(labelsize=7, labelbottom=True)
            axes.spines[["top", "right"]].set_visible(False)
        axes_of[0].set_ylabel("ms measured, least", fontsize=8)
    title = f"one image on {machine.name}, float32, eager torch; dotted: measured = promised"
    drawn.suptitle(title, fontsize=10, x=0.02, ha="left")
    named = [axes.get_legend_handles_labels() for axes in grid[0][:2]]
    handles, labels = ([one for found in named for one in found[k]] for k in (0, 1))
    drawn.legend(handles, labels, frameon=False, fontsize=8, loc="outside lower center", ncols=9)
    save(drawn, path)


def _forms(axes: Any, rows: Sequence[Row], promised: Key) -> None:
    """Points by form, those of one cell joined; both axes logarithmic."""
    for group in cells(rows):
        axes.plot([promised(r) for r in group], [time(r) for r in group], color=GREY, lw=0.3, zorder=0)
    for form in dict.fromkeys(row.form for row in rows):
        points = [row for row in rows if row.form == form]
        colour = COLOURS[form.removesuffix(SE)]
        axes.scatter(
            [promised(r) for r in points], [time(r) for r in points], s=18, edgecolors=colour,
            facecolors="white" if form.endswith(SE) else colour, label=None if form.endswith(SE) else form,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")


def _detectors(axes: Any, rows: Sequence[Row], promised: Key) -> None:
    """Named points; the names of the many small ones stand in a column at the left, one above the other."""
    high, place = max(map(time, rows)), 0.0
    axes.scatter([promised(row) for row in rows], [time(row) for row in rows], s=14, color=BLUE)
    for row in sorted(rows, key=time):
        x, y = promised(row) + 0.03 * high, time(row)
        if CROWD[0] < promised(row) / high < CROWD[1]:
            place = max(place + 0.055 * high, y)
            x, y = 0.02 * high, place
        line = {"arrowstyle": "-", "lw": 0.3, "color": GREY}
        axes.annotate(row.form, (promised(row), time(row)), (x, y), fontsize=6, va="center", arrowprops=line)
    axes.set_xlim(0, 0.85 * high)
    axes.set_ylim(0, 1.08 * high)
