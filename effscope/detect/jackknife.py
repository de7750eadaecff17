"""The variance of a statistic over the choice of images, by leaving out groups of them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

GROUPS = 40
"""Number of groups of images; the jackknife leaves out one group at a time."""


def jackknife_variance(left_out: Sequence[float]) -> float:
    """Delete-group jackknife.

    Args:
        left_out: values of the statistic without each group of images in turn; groups of equal size, at least two.
    """
    n, middle = len(left_out), fmean(left_out)
    return (n - 1) / n * sum((value - middle) ** 2 for value in left_out)
