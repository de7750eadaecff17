"""Colours and the empty figure, for all plots."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, BLUE, GREY, RED, GREEN, ORANGE = "#22303c", "#2f6db3", "#b7c0c8", "#c0392b", "#2e8b57", "#d9822b"
MUTED = "#6b7680"
"""Colour of small text next to a line."""


def figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow import

    return Figure(figsize=(width, height), dpi=150, layout="constrained")
