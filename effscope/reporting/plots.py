"""Pictures of results. Each function takes a result and writes one file; numbers come from the result alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from effscope.files import write_bytes
from effscope.results import ACCEPTED, SearchResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BLUE, GREY, RED, GREEN = "#22303c", "#2f6db3", "#b7c0c8", "#c0392b", "#2e8b57"


def figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def save(picture: Figure, path: Path) -> Path:
    """Write a figure in the format its name ends with, whole or not at all."""
    import io  # noqa: PLC0415

    data = io.BytesIO()
    picture.savefig(data, format=path.suffix.removeprefix("."))
    write_bytes(path, data.getvalue())
    return path


def plot_search(result: SearchResult, path: Path) -> Path:
    """AP against FLOPs: the base, each candidate, the AP at once as a hollow mark, the margin as a line."""
    picture = figure(7, 4.2)
    axes = picture.subplots()
    base_x, base_y = result.base_flops / 1e9, 100 * result.base_ap
    margin = 0.0 if result.rule == "paper" else 100 * result.margin
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
    axes.set_xlabel(f"GFLOPs at {result.imgsz} px")
    axes.set_ylabel("AP50-95 x 100")
    axes.margins(0.12, 0.18)
    axes.spines[["top", "right"]].set_visible(False)
    picture.suptitle(f"search on {result.base}", fontsize=10, x=0.02, ha="left")
    picture.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=4, columnspacing=1.2)
    return save(picture, path)


def plot_history(history: tuple[dict[str, float], ...], path: Path) -> Path:
    """Loss terms by epoch, and AP where it was measured; of a dual head also how far its two assignments are apart."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow import

    dual = any("gap" in row for row in history)
    picture = figure(7, 5.6 if dual else 3.6)
    panels = picture.subplots(2, 1, sharex=True) if dual else [picture.subplots()]
    _plot_losses(panels[0], history)
    if dual:
        _plot_matching(panels[1], history)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return save(picture, path)


def _plot_losses(axes: Axes, history: tuple[dict[str, float], ...]) -> None:
    epochs = [row["epoch"] for row in history]
    for name, colour in (("box", BLUE), ("cls", RED), ("dfl", INK)):
        axes.plot(epochs, [row[name] for row in history], color=colour, lw=1.4, label=f"{name} loss")
    scored = [(row["epoch"], 100 * row["ap"]) for row in history if "ap" in row]
    right = axes.twinx() if len(scored) > 1 else None
    if right is not None:
        right.plot(*zip(*scored, strict=True), color=GREEN, lw=1.4, ls="--", marker="o", ms=3, label="AP x 100")
    _dress(axes, right, "loss", "AP50-95 x 100")


def _plot_matching(axes: Axes, history: tuple[dict[str, float], ...]) -> None:
    rows = [row for row in history if "gap" in row]
    epochs = [row["epoch"] for row in rows]
    axes.plot(epochs, [row["gap"] for row in rows], color=INK, lw=1.4, label="supervision gap")
    right = axes.twinx()
    for name, style in (("top1", "-"), ("top5", "--"), ("top10", ":")):
        shares = [100 * row[name] for row in rows]
        right.plot(epochs, shares, color=GREEN, lw=1.4, ls=style, label=f"in the best {name[3:]}")
    right.set_ylim(0, 105)
    _dress(axes, right, "gap (1-Wasserstein)", "one-to-one points (%)")


def _dress(axes: Axes, right: Axes | None, left_title: str, right_title: str) -> None:
    """Titles of the two scales, no frame, one legend above."""
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
