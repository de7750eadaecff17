"""From singular values to measures. Arrays in, numbers out; nothing here knows a model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effscope.errors import EffscopeError

Array = NDArray[np.float64]

TIE_BAND = 1e-6
"""A value this near the threshold, relative to the largest, is a tie and is settled by SVD."""

GRAM_FLOOR = 1e-6
"""Below this share of the largest value a Gram matrix resolves too little: the SVD is used."""

NULL_DRAWS = 5


def as_matrix(weight: Array) -> Array:
    """A convolution weight (C_out, C_in, k, k) as (C_out, C_in*k*k), float64."""
    return np.asarray(weight, dtype=np.float64).reshape(len(weight), -1)


def singular_values(matrix: Array, threshold: float = 0.5) -> Array:
    """Singular values in descending order, by the Gram matrix where that is exact enough for the threshold.

    Args:
        matrix: (m, n), finite.
        threshold: the ratio the values will be cut at: the SVD answers when it is below `GRAM_FLOOR` or when a value
            lies within `TIE_BAND` of it.

    Raises:
        EffscopeError: NaN or infinite entries.
    """
    if not np.isfinite(matrix).all():
        raise EffscopeError("the weight holds NaN or infinite values: it has no rank")
    largest = float(np.abs(matrix).max(initial=0.0))
    if largest == 0.0:
        return np.zeros(min(matrix.shape))
    scaled = matrix / largest
    gram = scaled @ scaled.T if matrix.shape[0] <= matrix.shape[1] else scaled.T @ scaled
    values = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[::-1], 0.0, None))
    if threshold < GRAM_FLOOR or is_tie(values, threshold):
        values = np.linalg.svd(scaled, compute_uv=False)
    return np.asarray(values * largest)


def root_values(covariance: Array) -> Array:
    """Square roots of the eigenvalues of a symmetric matrix (C, C), descending: the singular values behind it.

    Raises:
        EffscopeError: NaN or infinite entries.
    """
    if not np.isfinite(covariance).all():
        raise EffscopeError("the outputs hold NaN or infinite values: they have no rank")
    return np.asarray(np.sqrt(np.clip(np.linalg.eigvalsh(covariance)[::-1], 0.0, None)))


def numerical_rank(values: Array, threshold: float) -> int:
    """How many singular values are above `threshold` times the largest; 0 for an all-zero spectrum."""
    return int(np.count_nonzero(values > threshold * values[0])) if len(values) and values[0] > 0 else 0


def is_tie(values: Array, threshold: float) -> bool:
    """Whether a value sits at the threshold, within `TIE_BAND` of the largest."""
    return bool(values[0] > 0 and np.abs(values / values[0] - threshold).min() < TIE_BAND)


def effective_rank(values: Array) -> float:
    """exp of the entropy of s / sum(s), between 1 and the number of values (Roy and Vetterli, 2007); 0 for zeros."""
    total = values.sum()
    if total <= 0:
        return 0.0
    p = values[values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def stable_rank(values: Array) -> float:
    """sum(s^2) / max(s)^2, never above the rank; 0 for zeros."""
    return float((values**2).sum() / values[0] ** 2) if len(values) and values[0] > 0 else 0.0


def null_ratio(shape: tuple[int, int], threshold: float, draws: int = NULL_DRAWS, seed: int = 0) -> float:
    """Rank over rows of a Gaussian matrix of this shape: what a layer that learned nothing would show.

    Mean over seeded draws; its standard error is under .01 for 32 rows or more.
    """
    rng = np.random.default_rng([seed, *shape])
    ranks = [numerical_rank(singular_values(rng.standard_normal(shape), threshold), threshold) for _ in range(draws)]
    return float(np.mean(ranks) / shape[0])
