"""Pictures of ranks: bars of one model, the paper's lines of several, spectra stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.reporting.plots import BLUE, GREY, INK, RED, figure, save
from effscope.results import RankResult, StageRank
from effscope.thresholds import read_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_UPRIGHT, WIDEST_UPRIGHT = 10, 14
"""More bars than this, or longer names, lie one below the other: names need the room."""

LONGEST_NAME = 26
"""Characters of a model's name in a picture."""

MOST_MARKED = 24
"""Stages of a line that are marked and numbered one by one."""

LINES = (BLUE, "#d9822b", "#2e8b57", RED, "#7d5ba6", "#46a6b8", "#8c6d31", INK)
"""Colours of models, in the order they are given."""

MOST_PANELS, ACROSS = 24, 4
"""Spectra in one picture, those of lowest ratio; panels side by side."""


def _title(result: RankResult) -> str:
    words = read_threshold(result.definition.threshold).words
    return words if result.definition.of == "weights" else f"{words}, outputs over images"


def _short(name: str) -> str:
    """A name that leaves room beside it: its end tells most."""
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"


def plot_rank(result: RankResult, path: Path) -> Path:
    """Ratio by stage in ascending order, with the ratio of a random matrix of that shape as a tick."""
    rows = [row for row in result.stages if row.ratio is not None]
    lying = len(rows) > MOST_UPRIGHT or max(len(row.layer.removesuffix(".conv")) for row in rows) > WIDEST_UPRIGHT
    picture = figure(7, 1.4 + 0.2 * len(rows)) if lying else figure(7, 3.6)
    axes = picture.subplots()
    (_lying_bars if lying else _upright_bars)(axes, rows)
    axes.set_title(f"{_short(result.model)}: {_title(result)}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return save(picture, path)


def _nulls(rows: Sequence[StageRank]) -> list[tuple[int, float]]:
    """Position of a bar, and the ratio of a random matrix of its shape."""
    return [(n, row.null_ratio) for n, row in enumerate(rows) if row.null_ratio is not None]


def _upright_bars(axes: Axes, rows: Sequence[StageRank]) -> None:
    xs = range(len(rows))
    axes.bar(xs, [row.ratio or 0.0 for row in rows], color=BLUE, width=0.62, label="this model")
    nulls = _nulls(rows)
    if nulls:
        axes.scatter(
            [x for x, _ in nulls], [y for _, y in nulls], marker="_", s=620, color=RED,
            label="random matrix of that shape",
        )  # fmt: skip
    for x, row in zip(xs, rows, strict=True):
        axes.annotate(
            f"{row.rank}/{row.c_out}", (x, 0), ha="center", va="top", fontsize=8, color=INK,
            xytext=(0, -3), textcoords="offset points",
        )  # fmt: skip
    axes.set_xticks(list(xs), [f"\nstage {row.stage}\n{row.layer.removesuffix('.conv')}" for row in rows], fontsize=7)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("rank / output channels")
    axes.set_ylim(0, max([0.2, *(row.ratio or 0 for row in rows), *(y for _, y in nulls)]) * 1.18)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _lying_bars(axes: Axes, rows: Sequence[StageRank]) -> None:
    ys = range(len(rows))
    axes.barh(ys, [row.ratio or 0.0 for row in rows], color=BLUE, height=0.66, label="this model")
    nulls = _nulls(rows)
    if nulls:
        axes.scatter(
            [x for _, x in nulls], [y for y, _ in nulls], marker="|", s=90, color=RED,
            label="random matrix of that shape",
        )  # fmt: skip
    for y, row in zip(ys, rows, strict=True):
        axes.annotate(
            f"{row.rank}/{row.c_out}", (1.0, y), xycoords=("axes fraction", "data"), ha="left", va="center", fontsize=7,
            color=INK, xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
    axes.set_yticks(list(ys), [f"{row.layer.removesuffix('.conv')}  {row.stage:>3}" for row in rows], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("rank / output channels")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    axes.figure.legend(frameon=False, fontsize=8, loc="outside lower right", ncols=2)


def plot_compared(results: Sequence[RankResult], path: Path) -> Path:
    """Ratio by stage in forward order, one line per model, as in the YOLOv10 paper (arXiv 2405.14458, figure 3a);
    what random matrices of those shapes have as a dotted line."""
    picture = figure(7, 4)
    axes = picture.subplots()
    drawn = False
    for n, result in enumerate(results):
        rows = sorted((row for row in result.stages if row.ratio is not None), key=lambda row: row.stage)
        xs, colour = [row.stage for row in rows], LINES[n % len(LINES)]
        nulls = [row.null_ratio for row in rows if row.null_ratio is not None]
        style = {"marker": "o", "ms": 4} if len(rows) <= MOST_MARKED else {}
        axes.plot(xs, [row.ratio or 0.0 for row in rows], color=colour, lw=1.6, label=_short(result.model), **style)  # type: ignore[arg-type]
        if nulls and len(nulls) == len(xs):
            drawn = True
            axes.plot(xs, nulls, color=colour, lw=1, ls=":", alpha=0.7)
    if drawn:
        axes.plot([], [], color=GREY, lw=1, ls=":", label="random matrices of those shapes")
    stages = sorted({row.stage for result in results for row in result.stages})
    if len(stages) <= MOST_MARKED:
        axes.set_xticks(stages)
    axes.set_xlabel("convolution, in forward order" if results[0].definition.at == "all" else "stage")
    axes.set_ylabel("rank / output channels")
    axes.set_ylim(0, None)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(results[0]), fontsize=10, loc="left")
    picture.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=min(3, len(results) + 1))
    return save(picture, path)


def plot_spectra(results: Sequence[RankResult], path: Path) -> Path:
    """Singular values over the largest, a panel per stage, a line per model; a random matrix dotted, the threshold
    dashed. Models with another layer at a number are left out there. Of many convolutions, those of lowest ratio."""
    stages = _panels(results)
    across = min(ACROSS, len(stages))
    down = -(-len(stages) // across)
    picture = figure(1.2 + 2.1 * across, 1.2 + 1.7 * down)
    grid = picture.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    panels = dict(zip(sorted(stages), grid.flat, strict=False))
    for axes in grid.flat[len(stages) :]:
        axes.set_visible(False)
    layers: dict[int, str] = {}
    for n, result in enumerate(results):
        for spectrum in result.spectra:
            first = spectrum.stage not in layers
            if spectrum.stage in panels and layers.setdefault(spectrum.stage, spectrum.layer) == spectrum.layer:
                _draw_spectrum(panels[spectrum.stage], spectrum.values, LINES[n % len(LINES)], _short(result.model))
                if first and spectrum.null:
                    _draw_spectrum(panels[spectrum.stage], spectrum.null, GREY, "random matrix of that shape", ":")
    threshold = read_threshold(results[0].definition.threshold)
    for stage, axes in panels.items():
        if threshold.kind == "ratio":
            axes.axhline(threshold.level, color=RED, lw=0.8, ls="--", label="threshold")
        axes.set_title(f"{stage}  {_short(layers[stage].removesuffix('.conv'))}", fontsize=7, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    picture.supxlabel("number of the singular value / how many there are", fontsize=8)
    picture.supylabel("singular value / largest", fontsize=8)
    handles = {name: h for axes in panels.values() for h, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    picture.legend(handles.values(), handles.keys(), frameon=False, fontsize=8, loc="outside upper center", ncols=4)
    return save(picture, path)


def _panels(results: Sequence[RankResult]) -> list[int]:
    """The stages that are drawn: those of lowest ratio in the first model that has any."""
    first = next(result for result in results if result.order)
    return list(first.order[:MOST_PANELS])


def _draw_spectrum(axes: Axes, values: Sequence[float], colour: str, name: str, style: str = "-") -> None:
    if not values or values[0] <= 0:
        return
    xs = [(n + 1) / len(values) for n in range(len(values))]
    axes.plot(xs, [value / values[0] for value in values], color=colour, lw=1.3, ls=style, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.03)
