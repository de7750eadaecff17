"""Colours, lines and the empty figure, for all plots. Colours are those of Okabe and Ito, told apart by colour-blind
readers; in grey, line styles, markers and hatches tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, GREY, MUTED = "#22303c", "#b7c0c8", "#6b7680"
"""Text and the most important mark; marks in the background; small text next to a line."""

BLUE, RED, GREEN, ORANGE, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"

STYLES = (
    (BLUE, "-", "o"), (RED, "--", "s"), (GREEN, "-.", "^"), (PURPLE, (0, (5, 1, 1, 1, 1, 1)), "D"),
    (ORANGE, (0, (8, 2)), "v"), (SKY, (0, (3, 1)), "P"), (INK, (0, (1, 1)), "X"), (MUTED, "-", "*"),
)  # fmt: skip
"""Colour, line style and marker of the lines of a plot, in their order."""


def line_style(n: int, marked: bool = True) -> Mapping[str, Any]:
    """Arguments of `plot` for the n-th line, from 0; with its marker or without."""
    colour, dashes, marker = STYLES[n % len(STYLES)]
    return {"color": colour, "ls": dashes, "lw": 1.5, **({"marker": marker, "ms": 5} if marked else {})}


def figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    return Figure(figsize=(width, height), dpi=150, layout="constrained")
