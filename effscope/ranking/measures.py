"""Measures of a spectrum: functions from descending singular values to a number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effscope.ranking.spectrum import Array, MapShape
from effscope.ranking.thresholds import cut
from effscope.thresholds import Threshold

SPIKE_SHARE = 0.1
"""A spectrum has a spike if the rank without the largest value is larger by more than this share of the rows."""

FEWEST_HIDDEN = 3
"""And by more than this number: with few channels, the rank changes that much by chance."""


def effective_rank(values: Array) -> float:
    """exp of the entropy of s / sum(s), between 1 and the number of values; 0 for zeros.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    if not len(values) or values[0] <= 0:
        return 0.0
    relative = values[values > 0] / values[0]
    p = relative / relative.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def stable_rank(values: Array) -> float:
    """sum(s^2) / max(s)^2, between 1 and the number of values; 0 for zeros.

    Source: Rudelson and Vershynin, arXiv math/0503442.
    """
    return float(((values / values[0]) ** 2).sum()) if len(values) and values[0] > 0 else 0.0


def top_gap(values: Array) -> float | None:
    """Largest / second largest value, 1 or more; None if there is no second one above 0."""
    return float(values[0] / values[1]) if len(values) > 1 and values[1] > 0 else None


MEASURES: dict[str, Callable[[Array], float | None]] = {
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "top_gap": top_gap,
}
"""Field of `StageRank` -> its measure. No measure changes if all values are scaled by one factor."""


def rank_without_top(values: Array, shape: MapShape, threshold: Threshold, eps: float) -> int:
    """The rank if the threshold is computed without the largest value; the largest still counts.

    It is much larger than the rank if the largest value dominates the others.
    """
    rest = values[1:]
    if not len(values) or values[0] <= 0:
        return 0
    return 1 + cut(threshold, rest, shape, eps).rank if len(rest) and rest[0] > 0 else 1


def is_spiked(rank: int, without_top: int, rows: int) -> bool:
    """Whether one singular vector decides the rank; False if the rank is 0."""
    return rank > 0 and without_top - rank > max(SPIKE_SHARE * rows, FEWEST_HIDDEN)
