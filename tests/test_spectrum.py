"""Measures of a spectrum: hand cases, the laws they obey, and the Gram matrix against a float64 SVD."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.errors import EffscopeError
from effscope.ranking.spectrum import (
    Array,
    as_matrix,
    effective_rank,
    is_tie,
    null_ratio,
    numerical_rank,
    singular_values,
    stable_rank,
)

SIDES = st.integers(1, 24)
SEEDS = st.integers(0, 10_000)
MEASURES = {
    "rank": lambda v: numerical_rank(v, 0.5),
    "effective": effective_rank,
    "stable": stable_rank,
}


def rotation(random: np.random.Generator, n: int) -> Array:
    return np.asarray(np.linalg.qr(random.standard_normal((n, n)))[0])


def made_of(values: list[float], rows: int, columns: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    n = len(values)
    return np.asarray((rotation(random, rows)[:, :n] * values) @ rotation(random, columns)[:n])


@pytest.mark.parametrize(
    ("values", "threshold", "rank", "effective", "stable"),
    [
        ([3.0], 0.5, 1, 1.0, 1.0),
        ([2.0, 2.0, 2.0, 2.0], 0.5, 4, 4.0, 4.0),
        ([4.0, 2.1, 1.9, 0.0], 0.5, 2, math.exp(-sum(p * math.log(p) for p in (0.5, 2.1 / 8, 1.9 / 8))), 1.5013),
        ([1.0, 0.5], 0.5, 1, math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))), 1.25),  # not above: at
        ([1.0, 0.2, 0.2], 0.1, 3, None, 1.08),
        ([0.0, 0.0], 0.5, 0, 0.0, 0.0),
        ([], 0.5, 0, 0.0, 0.0),
    ],
)
def test_by_hand(values: list[float], threshold: float, rank: int, effective: float | None, stable: float) -> None:
    spectrum = np.array(values)
    assert numerical_rank(spectrum, threshold) == rank
    assert stable_rank(spectrum) == pytest.approx(stable, abs=1e-3)
    if effective is not None:
        assert effective_rank(spectrum) == pytest.approx(effective)


def test_weights_become_matrices_row_by_row() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    matrix = as_matrix(weight)  # type: ignore[arg-type]
    assert matrix.dtype == np.float64
    assert np.array_equal(matrix, np.arange(24.0).reshape(2, 12))


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS, st.sampled_from([0.01, 0.1, 0.5, 0.9]))
def test_gram_counts_equal_those_of_a_float64_svd(rows: int, columns: int, seed: int, threshold: float) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    expected = np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)
    found = singular_values(matrix, threshold)
    assert len(found) == min(rows, columns)
    assert np.all(np.diff(found) <= 0)
    assert np.allclose(found, expected, atol=1e-7 * expected[0])
    assert numerical_rank(found, threshold) == numerical_rank(expected, threshold)


@settings(deadline=None)
@given(st.integers(2, 20), st.integers(2, 40), st.integers(1, 5), SEEDS, st.sampled_from([1e-20, 1e-6, 1.0, 1e20]))
def test_rank_deficient_matrices_at_any_scale(rows: int, columns: int, count: int, seed: int, scale: float) -> None:
    n = min(count, rows, columns)
    values = [*np.linspace(1.0, 0.6, n)]
    matrix = scale * made_of(values, rows, columns, seed)
    found = singular_values(matrix)
    assert numerical_rank(found, 0.5) == n
    assert np.allclose(found[:n], np.multiply(scale, values), rtol=1e-7)
    assert np.all(found[n:] <= 1e-6 * scale)
    assert stable_rank(found) == pytest.approx(sum(np.square(values)), rel=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_scaling_transposing_and_rotating_change_nothing(measure: str) -> None:
    @settings(deadline=None, max_examples=40)
    @given(SIDES, SIDES, SEEDS, st.sampled_from([1e-12, 3.0, 1e9]))
    def check(rows: int, columns: int, seed: int, factor: float) -> None:
        random = np.random.default_rng(seed)
        matrix = random.standard_normal((rows, columns))
        value = MEASURES[measure](singular_values(matrix))
        left, right = rotation(random, rows), rotation(random, columns)
        for other in (factor * matrix, -matrix, matrix.T, left @ matrix @ right, matrix[:, ::-1]):
            assert MEASURES[measure](singular_values(np.ascontiguousarray(other))) == pytest.approx(value, rel=1e-5)

    check()


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS, st.floats(0.01, 0.99))
def test_measures_keep_their_bounds(rows: int, columns: int, seed: int, threshold: float) -> None:
    values = singular_values(np.random.default_rng(seed).standard_normal((rows, columns)), threshold)
    rank, n = numerical_rank(values, threshold), min(rows, columns)
    assert 1 <= rank <= n
    assert 1 - 1e-9 <= stable_rank(values) <= n + 1e-9
    assert 1 - 1e-9 <= effective_rank(values) <= n + 1e-9
    assert stable_rank(values) <= effective_rank(values) ** 2 + 1e-9
    higher = min(threshold * 1.1, 0.999)
    assert numerical_rank(values, higher) <= rank


@pytest.mark.parametrize("off", [0.0, 1e-9, -1e-9, 5e-7, -5e-7])
def test_value_at_the_threshold_is_a_tie_settled_by_svd(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    real = np.linalg.svd

    def svd(matrix: Array, **options: bool) -> Any:
        asked.append(matrix.shape)
        return real(matrix, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(np.linalg, "svd", svd)
    matrix = np.diag([1.0, 0.8, 0.5 + off, 0.1])
    values = singular_values(matrix, 0.5)
    assert asked == [(4, 4)]
    assert is_tie(values, 0.5)
    assert numerical_rank(values, 0.5) == (3 if off > 0 else 2)


def test_values_beside_the_threshold_are_no_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.linalg, "svd", lambda *a, **k: pytest.fail("no SVD is needed"))
    for off in (1e-4, -1e-4):
        values = singular_values(np.diag([1.0, 0.5 + off]), 0.5)
        assert not is_tie(values, 0.5)
        assert numerical_rank(values, 0.5) == (2 if off > 0 else 1)


def test_small_thresholds_are_resolved() -> None:
    matrix = made_of([1.0, 1e-7, 1e-9], 5, 6, 0)
    assert numerical_rank(singular_values(matrix, 1e-8), 1e-8) == 2
    assert numerical_rank(singular_values(matrix, 1e-10), 1e-10) == 3


def test_zeros_have_no_rank() -> None:
    for shape in ((3, 5), (5, 3), (1, 1)):
        values = singular_values(np.zeros(shape))
        assert np.array_equal(values, np.zeros(min(shape)))
        assert (numerical_rank(values, 0.5), effective_rank(values), stable_rank(values)) == (0, 0.0, 0.0)
        assert not is_tie(values, 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    matrix = np.eye(3)
    matrix[1, 2] = value
    with pytest.raises(EffscopeError, match="NaN or infinite"):
        singular_values(matrix)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((128, 1152), 1.0),
        ((128, 128), 0.395),
        ((128, 64 * 9), 0.81),
        ((128, 256), 0.56),
        ((256, 128), 0.28),
        ((64, 147), 0.59),
    ],
)
def test_null_ratio_is_the_published_one(shape: tuple[int, int], expected: float) -> None:
    """REFERENCE section 3; the 3x3 c -> c case tends to 1 as c grows."""
    assert null_ratio(shape, 0.5) == pytest.approx(expected, abs=0.03)
    assert null_ratio(shape, 0.5) == null_ratio(shape, 0.5)


def test_one_spike_breaks_the_count_but_not_the_effective_rank() -> None:
    """REFERENCE section 3: a rank-1 spike of 1.5 times the top value takes the ratio from 1.00 to about .24."""
    random = np.random.default_rng(0)
    matrix = random.standard_normal((256, 2304))
    top = singular_values(matrix)[0]
    u, v = (x / np.linalg.norm(x) for x in (random.standard_normal((256, 1)), random.standard_normal((1, 2304))))
    assert numerical_rank(singular_values(matrix), 0.5) / 256 > 0.97
    spiked = singular_values(matrix + 1.5 * top * u @ v)
    assert numerical_rank(spiked, 0.5) / 256 == pytest.approx(0.24, abs=0.08)
    assert effective_rank(spiked) / 256 == pytest.approx(0.983, abs=0.005)
