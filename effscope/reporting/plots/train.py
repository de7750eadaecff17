"""The curves of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from effscope.reporting.page import Plot, on_data
from effscope.reporting.plots.style import BLUE, GREEN, INK, RED, figure
from effscope.results import TrainResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSSES: dict[str, tuple[str, Any]] = {"box": (BLUE, "-"), "cls": (RED, "-."), "dfl": (INK, (0, (1, 1)))}
"""Loss term of the history -> colour and line style."""

SHARES = {"top1": "-", "top5": "--", "top10": ":"}
"""Share of one-to-one points within the best 1, 5 or 10 one-to-many points -> line style."""

Epochs = Sequence[Mapping[str, Any]]


def history_plot(result: TrainResult) -> Plot | None:
    """The plot of the history; None without an epoch."""
    if not result.history:
        return None
    config = result.origin.config
    where = "" if config is None else f" {on_data(config.data, config.imgsz)}"
    title = f"Training of {result.model}{where}"
    return Plot("history", title, tuple(result.history), draw_history, "epoch", "loss")


def scored(history: Epochs) -> list[tuple[float, float]]:
    """Epoch and AP x 100, where AP was measured."""
    return [(row["epoch"], 100 * row["ap"]) for row in history if "ap" in row]


def draw_history(plot: Plot) -> Figure:
    """Loss terms and AP by epoch; for a dual head also the distance of its two assignments."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow import

    dual = any("gap" in row for row in plot.rows)
    drawing = figure(7, 5.6 if dual else 3.6)
    panels = drawing.subplots(2, 1, sharex=True) if dual else [drawing.subplots()]
    _draw_losses(panels[0], plot.rows)
    if dual:
        _draw_matching(panels[1], plot.rows)
    panels[-1].set_xlabel(plot.x)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(plot.rows) == 1:
        panels[-1].set_xlim(0, 2)
    drawing.suptitle(plot.title, fontsize=10, x=0.02, ha="left")
    return drawing


def _draw_losses(axes: Axes, history: Epochs) -> None:
    epochs = [row["epoch"] for row in history]
    mark = "o" if len(epochs) == 1 else None
    for name, (colour, style) in LOSSES.items():
        losses = [row[name] for row in history]
        axes.plot(epochs, losses, color=colour, ls=style, lw=1.4, marker=mark, label=f"{name} loss")
    points = scored(history)
    right = axes.twinx() if points else None
    if right is not None:
        right.plot(
            *zip(*points, strict=True), color=GREEN, lw=1.4, ls="--", marker="o", ms=3, label="AP x 100", clip_on=False
        )
    _dress(axes, right, "loss", "AP50-95 x 100")
    if right is not None:
        right.set_ylim(0, max(1.0, right.get_ylim()[1]))


def _draw_matching(axes: Axes, history: Epochs) -> None:
    rows = [row for row in history if "gap" in row]
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, [row["gap"] for row in rows], color=INK, lw=1.4, label="supervision gap")
    right = axes.twinx()
    for name, style in SHARES.items():
        shares = [100 * row[name] for row in rows]
        right.plot(epochs, shares, color=GREEN, lw=1.4, ls=style, label=f"in the best {name[3:]}")
    right.set_ylim(0, 105)
    _dress(axes, right, "gap (1-Wasserstein)", "one-to-one points (%)")


def _dress(axes: Axes, right: Axes | None, left_title: str, right_title: str) -> None:
    """Set the titles of both axes, remove the frame, put one legend above."""
    axes.set_ylabel(left_title)
    axes.set_ylim(bottom=0)
    lines = axes.get_lines()
    for one in (axes, right):
        if one is not None:
            one.spines["top"].set_visible(False)
            one.spines["right"].set_visible(right is not None)
    if right is not None:
        right.set_ylabel(right_title)
        right.set_ylim(bottom=0)
        lines = [*lines, *right.get_lines()]
    axes.legend(
        handles=lines, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(lines)
    )
