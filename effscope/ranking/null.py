"""The spectrum of a Gaussian matrix: the reference for ranks, like untrained weights.

For large matrices it uses the limit laws: Marchenko-Pastur, and for the largest value the mean of the Tracy-Widom law.
For small matrices it draws samples of the exact law, by a bidiagonal model and with a separate generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from effscope.ranking.spectrum import Array, MapShape

CELLS = 2048
DRAWN_BELOW = 64
"""Below this number of values per group samples are drawn: the limit laws are too coarse there."""
DRAWS, FEWEST_DRAWS, DRAWN_WORK = 200, 20, 1 << 24
TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065335745820, 1.2680340793
"""Mean and standard deviation of the real Tracy-Widom law (beta = 1). Source: Bornemann, arXiv 0904.1581, table."""
NODES = ((-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6))
"""Three-point quadrature of a normal distribution: (standard deviations from the mean, weight)."""
BULK_SD = 0.5
"""Standard deviation of the number of values above a fixed level inside the bulk of a large matrix."""


def bulk_quantiles(beta: float, shares: Array) -> Array:
    """Quantiles of the Marchenko-Pastur law of eigenvalues of G G^T / n, G (m, n) standard normal, beta = m/n <= 1.

    Source: Marchenko and Pastur 1967: density sqrt((b - x)(x - a)) / (2 pi beta x) on [a, b] = (1 -+ sqrt(beta))^2.
    """
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    edges = np.linspace(0.0, math.pi, CELLS + 1)
    middles = (edges[1:] + edges[:-1]) / 2

    def eigenvalue(angle: Array) -> Array:
        return low + (high - low) * np.sin(angle / 2) ** 2

    mass = np.cumsum(np.sin(middles) ** 2 / eigenvalue(middles))
    return np.interp(shares, np.concatenate([[0.0], mass / mass[-1]]), eigenvalue(edges))


def bulk_edge(values: Array, shape: MapShape) -> float:
    """Largest singular value of noise that has the same median: sigma * (sqrt(m) + sqrt(n)), m and n the sides."""
    m, n = sorted((shape.rows, shape.columns))
    median = float(bulk_quantiles(m / n, np.array([0.5]))[0])
    return float(np.median(values)) / math.sqrt(n * median) * (math.sqrt(m) + math.sqrt(n))


def gaussian_values(shape: MapShape, spread: float = 0.0) -> Array:
    """Singular values of a large standard normal map by the limit laws, descending.

    Args:
        shape: shape of the map. With several groups, the largest value is that of as many draws (Blom's approximation).
        spread: distance of the largest value from its mean, in standard deviations.

    Source for the largest value: Johnstone, Annals of Statistics 29 (2001), with the centring of Ma, arXiv 1105.5470.
    """
    m, n = sorted((shape.rows, shape.columns))
    values = np.sqrt(n * bulk_quantiles(m / n, (np.arange(m, 0, -1) - 0.5) / m))
    root_m, root_n = math.sqrt(m - 0.5), math.sqrt(n - 0.5)
    centre, scale = (root_m + root_n) ** 2, (root_m + root_n) * (1 / root_m + 1 / root_n) ** (1 / 3)
    largest_of_groups = NormalDist().inv_cdf((shape.groups - 0.375) / (shape.groups + 0.25))
    top = math.sqrt(centre + (TRACY_WIDOM_MEAN + (largest_of_groups + spread) * TRACY_WIDOM_SD) * scale)
    values = np.repeat(np.minimum(values, top), shape.groups)
    values[0] = top
    return values


def drawn_values(shape: MapShape, draws: int, seed: int = 0) -> Array:
    """Singular values of standard normal maps, (draws, values), descending.

    Source: Dumitriu and Edelman, arXiv math-ph/0206043: an m x n matrix has the values of an m x m lower bidiagonal
    one with chi variables of n, n-1, ... and m-1, m-2, ... degrees of freedom.
    """
    m, n = sorted((shape.rows, shape.columns))
    random = np.random.default_rng([seed, m, n, shape.groups])
    size = (draws, shape.groups)
    matrix = np.zeros((*size, m, m))
    matrix[..., np.arange(m), np.arange(m)] = np.sqrt(random.chisquare(np.arange(n, n - m, -1), (*size, m)))
    if m > 1:
        below = np.sqrt(random.chisquare(np.arange(m - 1, 0, -1), (*size, m - 1)))
        matrix[..., np.arange(1, m), np.arange(m - 1)] = below
    values = np.sqrt(np.clip(np.linalg.eigvalsh(matrix @ matrix.swapaxes(-1, -2)), 0.0, None))
    return np.sort(values.reshape(draws, -1), axis=1)[:, ::-1]


@dataclass(frozen=True)
class Reference:
    """Gaussian maps of one shape."""

    shape: MapShape

    @cached_property
    def spectra(self) -> tuple[Array, Array]:
        """Spectra (k, values), each descending, and the weight of each (k,); the weights sum to 1."""
        m = min(self.shape.rows, self.shape.columns)
        if m >= DRAWN_BELOW:
            laws = np.stack([gaussian_values(self.shape, spread) for spread, _ in NODES])
            return laws, np.array([weight for _, weight in NODES])
        draws = max(FEWEST_DRAWS, min(DRAWS, DRAWN_WORK // (self.shape.groups * m**3)))
        return drawn_values(self.shape, draws), np.full(draws, 1 / draws)

    def expected(self) -> Array:
        """Mean singular values, descending."""
        values, weights = self.spectra
        return weights @ values

    def ratio(self, count: Callable[[Array], int]) -> tuple[float, float]:
        """Mean and standard deviation of rank / output channels of such a map.

        The error of the mean is at most .01 (.02 for multiples of the `mp` edge). The standard deviation is that of a
        single map, i.e. the random variation of a ratio.

        Args:
            count: the rank of a spectrum (descending values of a map of this shape).
        """
        values, weights = self.spectra
        ranks = np.array([count(v) for v in values], np.float64)
        mean = float(weights @ ranks)
        spread = math.sqrt(max(float(weights @ (ranks - mean) ** 2), 0.0))
        if len(values) == len(NODES) and ranks.min() > 0 and ranks.max() < self.shape.values:
            spread = math.hypot(spread, BULK_SD)
        channels = self.shape.groups * self.shape.rows
        return mean / channels, spread / channels
