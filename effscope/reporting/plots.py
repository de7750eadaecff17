"""Pictures of results. Each function takes a result and writes one file; numbers come from the result alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from effscope.files import write_bytes
from effscope.results import SearchResult
from effscope.searching.stats import ACCEPTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, BLUE, GREY, RED = "#22303c", "#2f6db3", "#b7c0c8", "#c0392b"


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
    picture.suptitle(f"search on {result.base}", fontsize=10, x=0.02, ha="left")
    picture.legend(frameon=False, fontsize=8, loc="outside upper right", ncols=4, columnspacing=1.2)
    return save(picture, path)


def plot_history(history: tuple[dict[str, float], ...], path: Path) -> Path:
    """Loss terms by epoch, and AP where it was measured."""
    picture = figure(7, 3.6)
    axes = picture.subplots()
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
    return save(picture, path)
