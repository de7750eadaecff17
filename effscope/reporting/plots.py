"""Pictures of results. Each function takes a result and writes one file; numbers come from the result alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.files import write_bytes
from effscope.results import RankResult, SearchResult, StageRank
from effscope.searching.stats import ACCEPTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, GREY, RED = "#22303c", "#2f6db3", "#b7c0c8", "#c0392b"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    import io  # noqa: PLC0415

    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.removeprefix("."))
    write_bytes(path, data.getvalue())
    return path


MOST_UPRIGHT = 10
"""More bars than this lie, one below the other: their names need the room."""


def plot_rank(result: RankResult, path: Path) -> Path:
    """Ratio by stage in ascending order, with the ratio of a random matrix of that shape as a tick."""
    rows = [row for row in result.stages if row.ratio is not None]
    lying = len(rows) > MOST_UPRIGHT
    figure = _figure(7, 1.4 + 0.2 * len(rows)) if lying else _figure(7, 3.6)
    axes = figure.subplots()
    (_lying_bars if lying else _upright_bars)(axes, rows)
    threshold = result.definition["threshold"]
    axes.set_title(f"{result.model}: singular values above {threshold:g} of the largest", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return _save(figure, path)


def _upright_bars(axes: Axes, rows: Sequence[StageRank]) -> None:
    xs = range(len(rows))
    axes.bar(xs, [row.ratio or 0.0 for row in rows], color=BLUE, width=0.62, label="this model")
    nulls = [(x, row.null_ratio) for x, row in zip(xs, rows, strict=True) if row.null_ratio is not None]
    axes.scatter(
        [x for x, _ in nulls], [y for _, y in nulls], marker="_", s=620, color=RED, label="random matrix of that shape"
    )
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
    nulls = [(y, row.null_ratio) for y, row in zip(ys, rows, strict=True) if row.null_ratio is not None]
    axes.scatter(
        [x for _, x in nulls], [y for y, _ in nulls], marker="|", s=90, color=RED, label="random matrix of that shape"
    )
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


def plot_search(result: SearchResult, path: Path) -> Path:
    """AP against FLOPs: the base, each candidate, the AP at once as a hollow mark, the margin as a line."""
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    base_x, base_y = result.base_flops / 1e9, 100 * result.base_ap
    margin = 0.0 if result.origin.config["rule"] == "paper" else 100 * result.origin.config["margin"]
    axes.axhline(base_y - margin, color=GREY, lw=1, ls="--", zorder=0)
    axes.annotate(
        "lowest accepted AP", (1, base_y - margin), xycoords=("axes fraction", "data"), ha="right", va="top",
        fontsize=7, color="#6b7680", xytext=(0, -2), textcoords="offset points",
    )  # fmt: skip
    kept = [(base_x, base_y)] + [(t.flops / 1e9, 100 * t.ap_mean) for t in result.trials if t.verdict == ACCEPTED]
    axes.plot([x for x, _ in kept], [y for _, y in kept], color=BLUE, lw=1.5, zorder=1)
    axes.scatter([base_x], [base_y], color=INK, s=46, zorder=3, label="base")
    for t in result.trials:
        x, colour = t.flops / 1e9, BLUE if t.verdict == ACCEPTED else RED
        axes.plot([x, x], [100 * t.ap_start, 100 * t.ap_mean], color=colour, lw=0.8, alpha=0.5)
        axes.scatter([x], [100 * t.ap_start], facecolors="white", edgecolors=colour, s=28, zorder=2)
        axes.scatter([x], [100 * t.ap_mean], color=colour, s=42, zorder=3)
        axes.annotate(
            f"+ stage {t.stage}", (x, 100 * max(t.ap_mean, t.ap_start)), rotation=40, fontsize=8, color=colour,
            xytext=(2, 7), textcoords="offset points",
        )  # fmt: skip
    axes.scatter([], [], color=BLUE, s=42, label="accepted")
    axes.scatter([], [], color=RED, s=42, label="rejected")
    axes.scatter([], [], facecolors="white", edgecolors=INK, s=28, label="at once, before labelled training")
    axes.set_xlabel(f"GFLOPs at {result.origin.config['imgsz']} px")
    axes.set_ylabel("AP50-95 x 100")
    axes.margins(0.12, 0.18)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"search on {result.base}", fontsize=10, x=0.02, ha="left")
    figure.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=4, columnspacing=1.2)
    return _save(figure, path)


def plot_history(history: tuple[dict[str, float], ...], path: Path) -> Path:
    """Loss terms by epoch, and AP where it was measured."""
    figure = _figure(7, 3.6)
    axes = figure.subplots()
    epochs = [row["epoch"] for row in history]
    for name, colour in (("box", BLUE), ("cls", RED), ("dfl", INK)):
        axes.plot(epochs, [row[name] for row in history], color=colour, lw=1.4, label=f"{name} loss")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    scored = [(row["epoch"], 100 * row["ap"]) for row in history if "ap" in row]
    if len(scored) > 1:
        right = axes.twinx()
        right.plot([x for x, _ in scored], [y for _, y in scored], color="#2e8b57", lw=1.4, ls="--", label="AP x 100")
        right.set_ylabel("AP50-95 x 100")
        right.legend(frameon=False, fontsize=8, loc="lower left")
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(len(scored) > 1)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    return _save(figure, path)
