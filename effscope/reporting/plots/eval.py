"""Precision against recall, F1 against score, and the confusion matrix of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from effscope.errors import counted
from effscope.reporting.page import Plot, on_data, points
from effscope.reporting.plots.style import GREY, INK, MUTED, figure, line_style
from effscope.results import CURVE_RECALLS, CURVE_SCORES, ClassScore, Confusion, EvalResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 6
"""Classes with a line of their own; of more, the best and the worst have one, the others are thin and grey."""

FEW_BOXES = 5
"""A class with fewer ground-truth boxes is not named as best or worst, if enough others are there."""

MOST_CELLS = 15
"""Classes in the drawn confusion matrix; of more, those that are confused most often."""

NOT_FOUND, NO_BOX = "not found", "matches no box"
"""Names of the background: its column holds boxes without a detection, its row detections without a box."""

ROLES = ("mean", "class", "other", "cut")
"""Roles of lines, in the order of the legend."""

MARK_EVERY = 12
"""Points between two markers of a line."""

LONGEST = 22
"""Characters of a class name in a plot."""

_DARK = 0.55


def about(result: EvalResult) -> str:
    """Model, data and image size, in words."""
    config = result.origin.config
    where = f" {on_data(result.data, config.imgsz)}" if result.data and config is not None else ""
    split = f" ({result.split}, {counted(result.images, 'image')})" if result.split else ""
    return f"{result.model}{where}{split}"


def cropped(name: str, most: int = LONGEST) -> str:
    """A name of at most so many characters: of a longer one the beginning and the end."""
    if len(name) <= most:
        return name
    end = (most - 1) // 3
    return f"{name[: most - 1 - end]}…{name[-end:]}"


def pr_plot(result: EvalResult) -> Plot | None:
    """Precision by recall at IoU .5, mean and classes; None without curves."""
    lines = {one.name: one.precision for one in result.curves}
    labels = {one.name: f"{cropped(one.name)}  {points(one.ap50)}" for one in result.classes}
    title = f"{about(result)}; precision against recall at IoU 0.5; number: AP50 x 100"
    rows = _rows(result, lines, labels, CURVE_RECALLS, f"mean of the classes  {points(result.ap50)}")
    return Plot("pr_curve", title, rows, draw_lines, "recall", "precision") if rows else None


def f1_plot(result: EvalResult) -> Plot | None:
    """F1 by the smallest score that counts at IoU .5, mean and classes; None without curves."""
    if result.score_cut is None or result.f1 is None:
        return None
    lines = {one.name: one.f1 for one in result.curves}
    labels = {one.name: f"{cropped(one.name)}  {points(one.f1)}" for one in result.classes}
    title = f"{about(result)}; F1 against score at IoU 0.5; number: F1 x 100 at the cut"
    rows = _rows(result, lines, labels, CURVE_SCORES, f"mean of the classes  {points(result.f1)}")
    cut = {
        "role": "cut",
        "name": "",
        "label": f"cut of the table: {result.score_cut:.3f}",
        "x": result.score_cut,
        "y": result.f1,
    }
    return Plot("f1_curve", title, (*rows, cut), draw_lines, "smallest score that counts", "F1") if rows else None


def _rows(
    result: EvalResult,
    lines: Mapping[str, Sequence[float]],
    labels: Mapping[str, str],
    xs: Sequence[float],
    mean: str,
) -> tuple[dict[str, Any], ...]:
    """A row per point: role (other, class, mean), label, x, y; the mean is drawn last."""
    if not lines:
        return ()
    shown = shown_classes(result.classes)
    named = [one.name for one in shown]
    least = f"\nof those with {FEW_BOXES} boxes or more" if min(one.boxes for one in shown) >= FEW_BOXES else ""
    half = MOST_LINES // 2
    grey = f"the other {len(lines) - len(named)}\n(named: {half} best, {half} worst{least})"
    drawn = [(name, "other", grey) for name in lines if name not in named]
    drawn += [(name, "class", labels[name]) for name in named]
    rows = [
        {"role": role, "name": name, "label": label, "x": x, "y": y}
        for name, role, label in drawn
        for x, y in zip(xs, lines[name], strict=True)
    ]
    middle = [fmean(values) for values in zip(*lines.values(), strict=True)]
    return (
        *rows,
        *({"role": "mean", "name": "", "label": mean, "x": x, "y": y} for x, y in zip(xs, middle, strict=True)),
    )


def shown_classes(classes: Sequence[ClassScore]) -> list[ClassScore]:
    """The classes that a plot names: all of a few, else those with the largest and the smallest AP50, best first."""
    ranked = sorted(classes, key=lambda one: -one.ap50)
    if len(ranked) <= MOST_LINES:
        return ranked
    often = [one for one in ranked if one.boxes >= FEW_BOXES]
    ranked = often if len(often) >= MOST_LINES else ranked
    return ranked[: MOST_LINES // 2] + ranked[-MOST_LINES // 2 :]


def draw_lines(plot: Plot) -> Figure:
    """Lines of the classes, and the mean thick and black; the legend stands at the right."""
    drawing = figure(8, 4.4)
    axes = drawing.subplots()
    lines: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in plot.rows:
        lines.setdefault((row["role"], row["name"]), []).append(row)
    classes = [name for role, name in lines if role == "class"]
    drawn: dict[str, list[Any]] = {role: [] for role in ROLES}
    for (role, name), rows in lines.items():
        xs, ys, label = [row["x"] for row in rows], [row["y"] for row in rows], rows[0]["label"]
        if role == "cut":
            axes.plot(xs, ys, color=INK, marker="o", ms=6, mfc="white", zorder=6)
            drawn[role].append(axes.axvline(xs[0], color=MUTED, lw=1, ls=(0, (1, 2)), label=label))
        else:
            style = _style(role, classes.index(name) if role == "class" else 0)
            drawn[role] += axes.plot(xs, ys, label=label, **style)
    _dress(axes, plot)
    handles = [line for role in ROLES for line in (drawn[role][:1] if role == "other" else drawn[role])]
    drawing.legend(handles=handles, frameon=False, fontsize=8, loc="outside right upper", handlelength=3.5)
    drawing.suptitle(plot.title.replace("; ", "\n", 1), fontsize=9.5, x=0.02, ha="left")
    return drawing


def _style(role: str, n: int) -> dict[str, Any]:
    """Arguments of `plot` for the mean, the n-th named class, or another class."""
    if role == "mean":
        return {"color": INK, "lw": 3, "zorder": 5}
    if role == "other":
        return {"color": GREY, "lw": 0.6, "zorder": 1}
    return {**line_style(n), "markevery": (2 * n + 1, MARK_EVERY), "zorder": 3}


def _dress(axes: Axes, plot: Plot) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.015, 1.015)
    axes.set_xlabel(f"{plot.x} (0 to 1)")
    axes.set_ylabel(f"{plot.y} (0 to 1)")
    axes.grid(color=GREY, lw=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def confusion_plot(result: EvalResult) -> Plot | None:
    """The confusion matrix: counts, and the share of its row as grey; None without it."""
    found = result.confusion
    if found is None:
        return None
    shown = confused_most(found)
    background = len(found.classes)
    rows = [
        {
            "true": NO_BOX if i == background else cropped(found.classes[i]),
            "found": NOT_FOUND if j == background else cropped(found.classes[j]),
            "row": y, "column": x, "count": found.counts[i][j],
            "share": found.counts[i][j] / max(sum(found.counts[i]), 1),
        }
        for y, i in enumerate((*shown, background)) for x, j in enumerate((*shown, background))
    ]  # fmt: skip
    few = len(shown) < background
    which = f"; the {len(shown)} of {background} classes that are confused most" if few else ""
    title = f"{about(result)}; boxes at IoU {found.iou:g}, score at least {found.score:.3f}{which}"
    return Plot("confusion", title, tuple(rows), draw_confusion, "class of the detection", "class of the object")


def confused_most(found: Confusion, most: int = MOST_CELLS) -> list[int]:
    """Positions of the classes with the most confusions with another class; all if there are at most `most`."""
    n = len(found.classes)
    if n <= most:
        return list(range(n))
    wrong = [sum(found.counts[k][j] + found.counts[j][k] for j in range(n) if j != k) for k in range(n)]
    missed = [found.counts[k][n] + found.counts[n][k] for k in range(n)]
    return sorted(sorted(range(n), key=lambda k: (-wrong[k], -missed[k]))[:most])


def draw_confusion(plot: Plot) -> Figure:
    """A grid of grey cells with their counts."""
    import numpy as np  # noqa: PLC0415

    n = 1 + max(row["row"] for row in plot.rows)
    drawing = figure(max(0.42 * n + 3, 7), max(0.36 * n + 2.2, 4))
    axes = drawing.subplots()
    shares = np.zeros((n, n))
    for row in plot.rows:
        shares[row["row"], row["column"]] = 100 * row["share"]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row in plot.rows:
        if row["count"]:
            axes.text(
                row["column"], row["row"], f"{row['count']:,}", ha="center", va="center", fontsize=7.5,
                color="white" if row["share"] > _DARK else INK,
            )  # fmt: skip
    axes.set_xticks(range(n), [row["found"] for row in plot.rows[:n]], rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(n), [row["true"] for row in plot.rows[::n]], fontsize=8)
    axes.set_xticks([k - 0.5 for k in range(1, n)], minor=True)
    axes.set_yticks([k - 0.5 for k in range(1, n)], minor=True)
    axes.grid(which="minor", color=GREY, lw=0.4)
    axes.tick_params(which="both", length=0)
    for line in (axes.axhline, axes.axvline):
        line(n - 1.5, color=INK, lw=1)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    drawing.colorbar(image, ax=axes, label="share of the row (%)", fraction=0.04)
    drawing.suptitle(plot.title.replace("; ", "\n", 1), fontsize=9.5, x=0.02, ha="left")
    return drawing
