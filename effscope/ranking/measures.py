"""From singular values to measures: descending arrays in, numbers out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from effscope.ranking.spectrum import Array, MapShape
from effscope.ranking.thresholds import Threshold

SPIKE_SHARE = 0.1
"""A spectrum has a spike when leaving its largest value out adds more than this share of the rows to the rank."""

FEWEST_HIDDEN = 3
"""And more than this: in layers of few channels chance alone moves the count by as much."""


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
    """Largest over second largest value, 1 or more; None where there is no second."""
    return float(values[0] / values[1]) if len(values) > 1 and values[1] > 0 else None


MEASURES: dict[str, Callable[[Array], float | None]] = {
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
    "top_gap": top_gap,
}
"""Field of a StageRank -> its measure. None of them changes when all values are scaled by one factor."""


def rank_without_top(values: Array, shape: MapShape, threshold: Threshold, eps: float) -> int:
    """The rank when the cut is made by all values but the largest, which still counts: what one direction hides."""
    rest = values[1:]
    if not len(values) or values[0] <= 0:
        return 0
    return 1 + threshold.cut(rest, shape, eps).rank if len(rest) and rest[0] > 0 else 1


def is_spiked(rank: int, without_top: int, rows: int) -> bool:
    """Whether one singular vector decides the count; never where nothing counts."""
    return rank > 0 and without_top - rank > max(SPIKE_SHARE * rows, FEWEST_HIDDEN)
