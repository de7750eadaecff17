"""The Gaussian reference: against published ratios, draws of real Gaussian matrices, and integrals of the law."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy.integrate import quad
from support.spectra import kernel, svd

from effscope.ranking.measures import effective_rank, is_spiked, rank_without_top, top_gap
from effscope.ranking.null import DRAWN_BELOW, Reference, bulk_quantiles, drawn_values, gaussian_values
from effscope.ranking.spectrum import Array, MapShape
from effscope.ranking.thresholds import cut
from effscope.thresholds import Threshold, read_threshold

HALF = read_threshold(0.5)
EPS = 2.0**-23


def null_ratio(shape: MapShape, threshold: Threshold = HALF) -> tuple[float, float]:
    """Mean and standard deviation of the ratio of a Gaussian map."""
    return Reference(shape).ratio(lambda values: cut(threshold, values, shape, EPS).rank)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 1152), 1.0), ((128, 128), 0.395), ((128, 64 * 9), 0.81), ((128, 256), 0.56), ((256, 128), 0.28),
        ((64, 147), 0.59), ((512, 4608), 1.0), ((256, 9), 0.035),
    ],
)  # fmt: skip
def test_known_ratios_of_random_convolutions(shape: tuple[int, int], expected: float) -> None:
    """Ratios of random convolutions (docs/background.md, "Rank"); 3x3 c -> c tends to 1 as c grows."""
    assert null_ratio(MapShape(*shape))[0] == pytest.approx(expected, abs=0.02)


SHAPES = ((40, 40), (64, 64), (40, 48), (96, 864), (96, 48), (64, 147), (16, 27), (9, 4), (2, 50))
DRAWS = 150


@cache
def gaussian_draws(shape: tuple[int, int]) -> list[Array]:
    random = np.random.default_rng(1)
    return [svd(kernel(random.standard_normal(shape))) for _ in range(DRAWS)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, "energy:0.9", "energy:0.99", "mp", "mp:0.9", "eps"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ratios_agree_with_draws_of_gaussian_matrices(shape: tuple[int, int], threshold: float | str) -> None:
    given, made = read_threshold(threshold), MapShape(*shape)
    ratios = np.array([cut(given, values, made, EPS).rank / shape[0] for values in gaussian_draws(shape)])
    mean, spread = null_ratio(made, given)
    near = 0.02 if threshold == "mp:0.9" else 0.01
    assert mean == pytest.approx(ratios.mean(), abs=near + 3 * ratios.std() / math.sqrt(DRAWS))
    assert spread == pytest.approx(ratios.std(), abs=0.55 / min(shape) + 0.4 * ratios.std())


@pytest.mark.parametrize("shape", [MapShape(4, 36, 8), MapShape(16, 27, 2), MapShape(72, 90, 4), MapShape(64, 64, 2)])
def test_ratios_of_grouped_maps_agree_with_draws(shape: MapShape) -> None:
    random, size = np.random.default_rng(2), (shape.groups * shape.rows, shape.columns)
    ratios = [
        cut(HALF, svd(kernel(random.standard_normal(size), groups=shape.groups)), shape, EPS).rank / size[0]
        for _ in range(120)
    ]  # fmt: skip
    mean, spread = null_ratio(shape)
    assert mean == pytest.approx(np.mean(ratios), abs=0.01 + 3 * np.std(ratios) / math.sqrt(120))
    assert spread == pytest.approx(np.std(ratios), abs=0.006 + 0.5 * np.std(ratios))


def test_large_groups_use_the_limit_laws() -> None:
    values, weights = Reference(MapShape(DRAWN_BELOW, 576, 32)).spectra
    assert values.shape == (3, 32 * DRAWN_BELOW) and weights.sum() == pytest.approx(1.0)
    small, _ = Reference(MapShape(DRAWN_BELOW - 1, 576, 32)).spectra
    assert len(small) == 20


@pytest.mark.parametrize("beta", [1.0, 0.5, 1 / 9, 0.01])
def test_quantiles_agree_with_the_density_of_the_law(beta: float) -> None:
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2

    def below(x: float) -> float:
        """The integral of the density up to x, with x = t^2 against the pole of beta = 1."""
        density = lambda t: math.sqrt(max((high - t * t) * (t * t - low), 0.0)) / (math.pi * beta * t)  # noqa: E731
        return float(quad(density, math.sqrt(low), math.sqrt(x), limit=200)[0])

    shares = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    for share, quantile in zip(shares, bulk_quantiles(beta, shares), strict=True):
        assert below(quantile) == pytest.approx(share, abs=1e-4)


def test_the_bidiagonal_model_has_the_values_of_gaussian_matrices() -> None:
    random, shape = np.random.default_rng(3), MapShape(6, 15)
    plain = np.array([svd(kernel(random.standard_normal((6, 15)))) for _ in range(3000)])
    drawn = drawn_values(shape, 3000)
    assert drawn.shape == (3000, 6)
    assert np.allclose(drawn.mean(0), plain.mean(0), atol=0.05)
    assert np.allclose(drawn.std(0), plain.std(0), atol=0.05)
    assert np.array_equal(drawn_values(shape, 5), drawn_values(shape, 5))


def test_expected_values_descend_and_hold_the_energy() -> None:
    for shape in (MapShape(64, 64), MapShape(256, 2304), MapShape(300, 45), MapShape(8, 72), MapShape(4, 9, 16)):
        values = Reference(shape).expected()
        assert len(values) == shape.values
        assert np.all(np.diff(values) <= 0)
        assert (values**2).sum() == pytest.approx(shape.rows * shape.columns * shape.groups, rel=0.06)
    assert gaussian_values(MapShape(64, 64), 2.0)[0] > gaussian_values(MapShape(64, 64))[0]


def test_the_spike_table() -> None:
    """A random 256 x 2304 matrix plus a rank-1 term of 1 to 2 times its largest value, means of 25 draws: the rank
    falls, the effective rank hardly changes (docs/background.md, "Rank"). Every spike is flagged."""
    random, shape = np.random.default_rng(0), MapShape(256, 2304)
    table = {1.0: 0.74, 1.2: 0.55, 1.5: 0.24, 2.0: 0.004}
    ratios: dict[float, list[float]] = {size: [] for size in table}
    effective: dict[float, list[float]] = {size: [] for size in table}
    for _ in range(25):
        matrix = random.standard_normal((256, 2304))
        u, v = (x / np.linalg.norm(x) for x in (random.standard_normal(256), random.standard_normal(2304)))
        top = math.sqrt(np.linalg.eigvalsh(matrix @ matrix.T)[-1])
        for size in table:
            spiked = matrix + size * top * np.outer(u, v)
            values = np.sqrt(np.linalg.eigvalsh(spiked @ spiked.T)[::-1])
            rank = cut(HALF, values, shape, EPS).rank
            ratios[size].append(rank / 256)
            effective[size].append(effective_rank(values) / 256)
            without = rank_without_top(values, shape, HALF, EPS)
            assert without / 256 > 0.97
            assert is_spiked(rank, without, 256)
            assert (top_gap(values) or 0) > 1.2
    for size, expected in table.items():
        assert np.mean(ratios[size]) == pytest.approx(expected, abs=0.03)
        assert 0.98 <= np.mean(effective[size]) <= 0.986


@pytest.mark.parametrize(
    "shape", [(8, 8), (8, 27), (9, 9), (16, 16), (16, 27), (24, 16), (40, 40), (96, 864), (128, 128)]
)
def test_random_matrices_are_rarely_spiked(shape: tuple[int, int]) -> None:
    """Nor are small ones, whose tenth of the rows is one or two values, which chance alone can move."""
    drawn = drawn_values(MapShape(*shape), 200, seed=4)
    flags = [
        is_spiked(cut(HALF, v, MapShape(*shape), EPS).rank, rank_without_top(v, MapShape(*shape), HALF, EPS), shape[0])
        for v in drawn
    ]
    assert np.mean(flags) <= 0.03
