"""Plots of ranks: bars for one model, lines for several, spectra by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from effscope.reporting.page import Plot
from effscope.reporting.plots.style import INK, MUTED, SKY, figure, line_style
from effscope.results import RankResult
from effscope.thresholds import read_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_UPRIGHT, WIDEST_UPRIGHT = 10, 14
"""With more bars or longer names than this the bars are horizontal, because the names need the space."""

WIDEST_TITLE = 84
"""Characters of a title on one line of a plot 7 inches wide."""

LONGEST_NAME = 26
"""Maximum number of characters of a model's name in a plot."""

MOST_MARKED = 24
"""Maximum number of stages with a marker and a tick each."""

MOST_PANELS, ACROSS = 24, 4
"""Maximum number of spectra in one plot (those of the lowest ratio), and panels per row."""

FIGURE_SPACE = "\u2007"
"""A space as wide as a digit: aligns numbers in a proportional font."""

RATIO, RANDOM, THRESHOLD = "rank / output channels", "random matrix of that shape", "threshold"

UNTRAINED = "; untrained weights: these ranks say nothing about redundancy"

Marks = Sequence[Mapping[str, Any]]


def _title(result: RankResult) -> str:
    words = read_threshold(result.definition.threshold).words
    of = "" if result.definition.of == "weights" else f", {result.definition.of}"
    return words + of


def _short(name: str) -> str:
    """Shorten a long name; its end is kept, because it distinguishes models."""
    return name if len(name) <= LONGEST_NAME or name == RANDOM else f"...{name[3 - LONGEST_NAME :]}"


def rank_plot(result: RankResult, name: str) -> Plot | None:
    """Ratio by stage in ascending order, with that of a random matrix; None if no stage has a rank."""
    rows = tuple(
        {
            "stage": row.stage,
            "layer": row.layer.removesuffix(".conv"),
            "rank": row.rank,
            "c_out": row.c_out,
            "ratio": row.ratio,
            "null_ratio": row.null_ratio,
        }
        for row in result.stages
        if row.ratio is not None
    )
    title = f"{_short(result.model)}: {_title(result)}" + UNTRAINED * (result.definition.weights == "random")
    return Plot(name, title, rows, draw_rank, "", RATIO) if rows else None


def draw_rank(plot: Plot) -> Figure:
    """Vertical or horizontal bars; a tick marks the ratio of a random matrix of that shape."""
    rows = plot.rows
    lying = len(rows) > MOST_UPRIGHT or max(len(row["layer"]) for row in rows) > WIDEST_UPRIGHT
    drawing = figure(7, 1.4 + 0.2 * len(rows)) if lying else figure(7, 3.6)
    axes = drawing.subplots()
    (_lying_bars if lying else _upright_bars)(axes, rows, plot.y)
    axes.set_title(fill(plot.title, WIDEST_TITLE), fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return drawing


def _nulls(rows: Marks) -> list[tuple[int, float]]:
    """Position of a bar, and the ratio of a random matrix of its shape."""
    return [(n, row["null_ratio"]) for n, row in enumerate(rows) if row["null_ratio"] is not None]


def _upright_bars(axes: Axes, rows: Marks, name: str) -> None:
    xs = range(len(rows))
    axes.bar(xs, [row["ratio"] for row in rows], color=SKY, width=0.62, label="this model")
    nulls = _nulls(rows)
    if nulls:
        axes.scatter([x for x, _ in nulls], [y for _, y in nulls], marker="_", s=620, color=INK, label=RANDOM)
    for x, row in zip(xs, rows, strict=True):
        axes.annotate(
            f"{row['rank']}/{row['c_out']}", (x, 0), ha="center", va="top", fontsize=8, color=INK, xytext=(0, -3),
            textcoords="offset points",
        )  # fmt: skip
    axes.set_xticks(list(xs), [f"\nstage {row['stage']}\n{row['layer']}" for row in rows], fontsize=7)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(name)
    axes.set_ylim(0, max([0.2, *(row["ratio"] for row in rows), *(y for _, y in nulls)]) * 1.18)
    axes.legend(frameon=False, fontsize=8, loc="upper left", markerscale=0.6)


def _lying_bars(axes: Axes, rows: Marks, name: str) -> None:
    ys = range(len(rows))
    axes.barh(ys, [row["ratio"] for row in rows], color=SKY, height=0.66, label="this model")
    nulls = _nulls(rows)
    if nulls:
        axes.scatter([x for _, x in nulls], [y for y, _ in nulls], marker="|", s=90, color=INK, label=RANDOM)
    for y, row in zip(ys, rows, strict=True):
        axes.annotate(
            f"{row['rank']}/{row['c_out']}", (1.0, y), xycoords=("axes fraction", "data"), ha="left", va="center",
            fontsize=7, color=INK, xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_yticks(list(ys), [f"{row['layer']}  {row['stage']:{FIGURE_SPACE}>3}" for row in rows], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(name)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    axes.figure.legend(frameon=False, fontsize=8, loc="outside lower right", ncols=2)


def compared_plot(results: Sequence[RankResult]) -> Plot:
    """Ratio by stage in forward order, one line per model, as in the YOLOv10 paper (arXiv 2405.14458, figure 3a)."""
    rows = tuple(
        {"line": _line_name(result), "stage": row.stage, "ratio": row.ratio, "null_ratio": row.null_ratio}
        for result in results
        for row in sorted(result.stages, key=lambda row: row.stage)
    )
    x = "convolution, in forward order" if results[0].definition.at == "all" else "stage"
    return Plot("compared", _title(results[0]), rows, draw_compared, x, RATIO)


def _line_name(result: RankResult) -> str:
    """A model in the legend; untrained weights say so."""
    return _short(result.model) + " (untrained)" * (result.definition.weights == "random")


def draw_compared(plot: Plot) -> Figure:
    """A line per model; dotted lines for random matrices of those shapes."""
    drawing = figure(7, 4)
    axes = drawing.subplots()
    drawn, highest = False, max((row["ratio"] or 0.0 for row in plot.rows), default=0.0)
    names = list(dict.fromkeys(row["line"] for row in plot.rows))
    for n, name in enumerate(names):
        rows = [row for row in plot.rows if row["line"] == name and row["ratio"] is not None]
        xs, nulls = [row["stage"] for row in rows], [row["null_ratio"] for row in rows]
        style = line_style(n, len(rows) <= MOST_MARKED)
        axes.plot(xs, [row["ratio"] for row in rows], label=name, **style)
        if nulls and None not in nulls:
            drawn = True
            axes.plot(xs, nulls, **{**style, "ls": ":", "lw": 0.9, "ms": 3, "mfc": "white"})
            highest = max(highest, *nulls)
    if drawn:
        axes.plot([], [], color=MUTED, lw=0.9, ls=":", label="dotted, same colour: random matrices of those shapes")
    stages = sorted({row["stage"] for row in plot.rows})
    if len(stages) <= MOST_MARKED:
        axes.set_xticks(stages)
    axes.set_xlabel(plot.x)
    axes.set_ylabel(plot.y)
    axes.set_ylim(0, 1.08 * highest or 1.0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(fill(plot.title, WIDEST_TITLE), fontsize=10, loc="left")
    drawing.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=min(3, len(names) + 1))
    return drawing


def spectra_plot(results: Sequence[RankResult]) -> Plot | None:
    """Singular values / the largest: per stage one line for each model, a random matrix, and the threshold.

    A model is left out of a stage if its layer there has another name. If there are many convolutions, only those of
    lowest ratio are drawn. None without a spectrum.
    """
    drawn = next((result.order[:MOST_PANELS] for result in results if result.order), ())
    layers: dict[int, str] = {}
    rows: list[dict[str, Any]] = []
    threshold = read_threshold(results[0].definition.threshold)
    for result in results:
        for found in result.spectra:
            new = found.stage not in layers
            if found.stage not in drawn or layers.setdefault(found.stage, found.layer) != found.layer:
                continue
            panel = {"stage": found.stage, "layer": _short(found.layer.removesuffix(".conv"))}
            rows += _line(panel, result.model, found.values)
            if new:
                rows += _line(panel, RANDOM, found.null)
                rows += (
                    [{**panel, "line": THRESHOLD, "x": None, "y": threshold.level}] if threshold.kind == "ratio" else []
                )
    x = "index of the singular value / number of singular values"
    return (
        Plot("spectra", "singular values by stage", tuple(rows), draw_spectra, x, "singular value / largest")
        if rows
        else None
    )


def _line(panel: Mapping[str, Any], name: str, values: Sequence[float]) -> list[dict[str, Any]]:
    if not values or values[0] <= 0:
        return []
    return [
        {**panel, "line": name, "x": n / len(values), "y": value / values[0]} for n, value in enumerate(values, 1)
    ]  # fmt: skip


def draw_spectra(plot: Plot) -> Figure:
    """A panel per stage; the random matrix dotted, the threshold dashed."""
    stages = sorted({row["stage"] for row in plot.rows})
    across = min(ACROSS, len(stages))
    down = -(-len(stages) // across)
    drawing = figure(1.2 + 2.1 * across, 1.2 + 1.7 * down)
    grid = drawing.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    panels: dict[int, Axes] = dict(zip(stages, grid.flat, strict=False))
    for axes in grid.flat[len(stages) :]:
        axes.set_visible(False)
    models = [name for name in dict.fromkeys(row["line"] for row in plot.rows) if name not in {RANDOM, THRESHOLD}]
    styles: dict[str, Mapping[str, Any]] = {name: line_style(n, False) for n, name in enumerate(models)}
    styles[RANDOM] = {"color": MUTED, "ls": ":", "lw": 1.3}
    for stage, axes in panels.items():
        rows = [row for row in plot.rows if row["stage"] == stage]
        for name in dict.fromkeys(row["line"] for row in rows):
            _draw_line(axes, name, [row for row in rows if row["line"] == name], styles)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.03)
        axes.set_title(f"{stage}  {rows[0]['layer']}", fontsize=7, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    drawing.supxlabel(plot.x, fontsize=8)
    drawing.supylabel(plot.y, fontsize=8)
    drawn = {name: h for axes in panels.values() for h, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = [name for name in (*models, RANDOM, THRESHOLD) if name in drawn]
    drawing.legend(
        [drawn[name] for name in names],
        list(map(_short, names)),
        frameon=False,
        fontsize=8,
        loc="outside upper center",
        ncols=4,
    )
    return drawing


def _draw_line(axes: Axes, name: str, rows: Marks, styles: Mapping[str, Mapping[str, Any]]) -> None:
    if name == THRESHOLD:
        axes.axhline(rows[0]["y"], color=INK, lw=0.8, ls=(0, (6, 3)), label=name)
        return
    axes.plot([row["x"] for row in rows], [row["y"] for row in rows], label=name, **styles[name])
