"""The spectrum of a Gaussian matrix: what a layer that learned nothing would show.

Large matrices: the Marchenko-Pastur law, with the largest value where the Tracy-Widom law has it. Small and grouped
ones are drawn, through the bidiagonal model of their exact law. Nothing is drawn from a global generator.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from effscope.ranking.spectrum import Array, MapShape

if TYPE_CHECKING:
    from effscope.ranking.thresholds import Threshold

CELLS = 2048
DRAWN_BELOW = 40
"""Maps with fewer values than this in a group are drawn: the limit laws are too coarse for them."""
DRAWS, DRAWN_BLOCKS, FEWEST_DRAWS = 200, 4000, 20
TRACY_WIDOM_MEAN, TRACY_WIDOM_SD = -1.2065335745820, 1.2680340793
"""Of the real law (beta = 1). Source: Bornemann, arXiv 0904.1581, table."""
NODES = ((-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6))
"""Three-point quadrature of a spread: standard deviations from the mean, weight."""


def bulk_quantiles(beta: float, shares: Array) -> Array:
    """Quantiles of the Marchenko-Pastur law of eigenvalues of G G^T / n, G (m, n) standard normal, beta = m/n <= 1.

    Source: Marchenko and Pastur 1967: density sqrt((b - x)(x - a)) / (2 pi beta x) on [a, b] = (1 -+ sqrt(beta))^2.
    """
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    edges = np.linspace(0.0, math.pi, CELLS + 1)
    middles = (edges[1:] + edges[:-1]) / 2

    def place(angle: Array) -> Array:
        return low + (high - low) * np.sin(angle / 2) ** 2

    mass = np.cumsum(np.sin(middles) ** 2 / place(middles))
    return np.interp(shares, np.concatenate([[0.0], mass / mass[-1]]), place(edges))


def bulk_edge(values: Array, shape: MapShape) -> float:
    """Where noise ends, told by the median of the singular values: sigma * (sqrt(m) + sqrt(n))."""
    m, n = sorted((shape.rows, shape.columns))
    median = float(bulk_quantiles(m / n, np.array([0.5]))[0])
    return float(np.median(values)) / math.sqrt(n * median) * (math.sqrt(m) + math.sqrt(n))


def gaussian_values(shape: MapShape, spread: float = 0.0) -> Array:
    """Singular values of a large standard normal matrix by the limit laws, descending.

    Args:
        shape: of the matrix.
        spread: how many standard deviations the largest value lies from its mean.

    Source: for the largest, Johnstone, Annals of Statistics 29 (2001), with the centring of Ma, arXiv 1105.5470.
    """
    m, n = sorted((shape.rows, shape.columns))
    values = np.sqrt(n * bulk_quantiles(m / n, (np.arange(m, 0, -1) - 0.5) / m))
    root_m, root_n = math.sqrt(m - 0.5), math.sqrt(n - 0.5)
    centre, scale = (root_m + root_n) ** 2, (root_m + root_n) * (1 / root_m + 1 / root_n) ** (1 / 3)
    top = math.sqrt(centre + (TRACY_WIDOM_MEAN + spread * TRACY_WIDOM_SD) * scale)
    values[0] = top
    return np.minimum(values, top)


def drawn_values(shape: MapShape, draws: int, seed: int = 0) -> Array:
    """Singular values of standard normal maps, (draws, values), descending.

    Source: Dumitriu and Edelman, arXiv math-ph/0206043: those of an m x n matrix are those of an m x m lower bidiagonal
    one with chi variables of n, n-1, ... and m-1, m-2, ... degrees of freedom.
    """
    m, n = sorted((shape.rows, shape.columns))
    random = np.random.default_rng([seed, m, n, shape.groups])
    size = (draws, shape.groups)
    diagonal = np.sqrt(random.chisquare(np.arange(n, n - m, -1), (*size, m)))
    matrix = np.zeros((*size, m, m))
    matrix[..., np.arange(m), np.arange(m)] = diagonal
    if m > 1:
        matrix[..., np.arange(1, m), np.arange(m - 1)] = np.sqrt(
            random.chisquare(np.arange(m - 1, 0, -1), (*size, m - 1))
        )
    values = np.sqrt(np.clip(np.linalg.eigvalsh(matrix @ matrix.swapaxes(-1, -2)), 0.0, None))
    return np.sort(values.reshape(draws, -1), axis=1)[:, ::-1]


def _is_drawn(shape: MapShape) -> bool:
    return shape.groups > 1 or min(shape.rows, shape.columns) < DRAWN_BELOW


def _draws(shape: MapShape) -> Array:
    return drawn_values(shape, max(FEWEST_DRAWS, min(DRAWS, DRAWN_BLOCKS // shape.groups)))


def expected_values(shape: MapShape) -> Array:
    """Expected singular values of a standard normal map, descending."""
    return np.asarray(_draws(shape).mean(0)) if _is_drawn(shape) else gaussian_values(shape)


def null_rank(shape: MapShape, threshold: Threshold, eps: float) -> tuple[float, float]:
    """Mean and standard deviation, over Gaussian maps of a shape, of rank / output channels.

    The mean is within .01 of the true one; the standard deviation is that of a single map, so it says how far chance
    moves a ratio.
    """
    drawn = _is_drawn(shape)
    spectra = _draws(shape) if drawn else [gaussian_values(shape, at) for at, _ in NODES]
    weights = np.full(len(spectra), 1 / len(spectra)) if drawn else np.array([weight for _, weight in NODES])
    ranks = np.array([threshold.cut(values, shape, eps).rank for values in spectra], np.float64)
    mean = float(weights @ ranks)
    spread = math.sqrt(max(float(weights @ (ranks - mean) ** 2), 0.0))
    channels = shape.groups * shape.rows
    return mean / channels, spread / channels
