"""Count the singular values above a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effscope.errors import EffscopeError
from effscope.ranking.null import bulk_edge
from effscope.ranking.spectrum import GRAM_FLOOR, TIE_BAND, Array, Kernel, MapShape, spectra
from effscope.thresholds import Threshold

ENERGY_BAND = 1e-9
"""A share of energy within this distance of the threshold is a tie: energies from Gram matrices are exact to 1e-13."""


@dataclass(frozen=True)
class Cut:
    """Result of a threshold on a spectrum.

    Attributes:
        rank: number of values that count.
        tie: a value is equal to the threshold up to rounding, so rounding decides whether it counts.
        resolved: values from a Gram matrix are exact enough for this count; otherwise the SVD is needed.
    """

    rank: int
    tie: bool = False
    resolved: bool = True


Rule = Callable[[Array, MapShape, float, float], Cut]
"""(descending values, shape of the map, eps of the stored dtype, level) -> Cut."""


def _above(values: Array, cutoff: float) -> Cut:
    tie = bool(np.abs(values - cutoff).min() < TIE_BAND * values[0])
    return Cut(int(np.count_nonzero(values > cutoff)), tie, not tie and cutoff >= GRAM_FLOOR * values[0])


def _ratio(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above a share of the largest value; .5 is the published definition (arXiv 2405.14458, figure 3)."""
    return _above(values, level * values[0])


def _eps(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above `level` times the rounding error of the stored dtype: max(rows, columns) * eps * the largest value.

    Always needs the SVD. Source: Press et al., Numerical Recipes 2007, section 2.6; numpy.linalg.matrix_rank.
    """
    return Cut(_above(values, level * max(shape.rows, shape.columns) * eps * values[0]).rank, resolved=False)


def _energy(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """The smallest number of largest values with a given share of the sum of squares."""
    shares = np.cumsum((values / values[0]) ** 2)
    shares = shares / shares[-1]
    tie = bool(np.abs(shares - level).min() < ENERGY_BAND)
    return Cut(min(int(np.searchsorted(shares, level)) + 1, len(values)), tie, not tie)


def _bulk(values: Array, shape: MapShape, eps: float, level: float) -> Cut:
    """Above `level` times the Marchenko-Pastur edge of noise with the same median value.

    Never below the rounding error of float64. Source: Gavish and Donoho, arXiv 1305.5870, for the median as the
    measure of noise.
    """
    floor = max(shape.rows, shape.columns) * float(np.finfo(np.float64).eps)
    return _above(values, max(level * bulk_edge(values, shape), floor * values[0]))


RULES: dict[str, Rule] = {"ratio": _ratio, "energy": _energy, "eps": _eps, "mp": _bulk}
"""Word of a threshold -> its rule. `effscope.thresholds.KINDS` has the default level and description."""


def cut(threshold: Threshold, values: Array, shape: MapShape, eps: float) -> Cut:
    """Count the values of a linear map that are above the threshold.

    Args:
        threshold: the threshold.
        values: singular values, descending. Zeros, or no values, have rank 0.
        shape: shape of the map.
        eps: machine epsilon of the stored dtype.
    """
    if not len(values) or values[0] <= 0:
        return Cut(0)
    return RULES[threshold.kind](values, shape, eps, threshold.level)


def too_coarse(threshold: Threshold, shape: MapShape, eps: float) -> bool:
    """Whether a rounding error can be as large as the largest value, so that a threshold `eps` has no meaning."""
    return threshold.kind == "eps" and threshold.level * max(shape.rows, shape.columns) * eps >= 1


def spectra_for(kernels: Sequence[Kernel], thresholds: Sequence[Threshold]) -> list[Array]:
    """Singular values of kernels, descending; by SVD if a Gram matrix is too inexact for one of the thresholds.

    Raises:
        EffscopeError: NaN or infinite entries; the message names the kernel.
    """

    def needs_svd(kernel: Kernel, values: Array) -> bool:
        return not all(cut(threshold, values, kernel.shape, kernel.eps).resolved for threshold in thresholds)

    return spectra(kernels, needs_svd)


def check_for_outputs(threshold: Threshold) -> None:
    """Raises EffscopeError for a threshold that has no meaning for a covariance of outputs."""
    if threshold.kind == "mp":
        raise EffscopeError(
            "`threshold` mp applies to weights only: outputs are not noise of one variance and have no noise edge; "
            "give a ratio, energy or eps"
        )
    if threshold.kind == "ratio" and threshold.level < GRAM_FLOOR:
        raise EffscopeError(
            f"`threshold` {threshold.level:g} is too small for outputs: a covariance resolves ratios only down to "
            f"{GRAM_FLOOR:g}; give a larger one"
        )
