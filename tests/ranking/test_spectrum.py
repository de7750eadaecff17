"""Singular values by Gram matrix against a plain float64 SVD, and invariants of the measures."""

from __future__ import annotations

import math
import threading
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spectra import kernel, made_of, rotation, svd
from threadpoolctl import threadpool_info, threadpool_limits

from effscope.errors import EffscopeError
from effscope.ranking.measures import MEASURES, effective_rank, is_spiked, rank_without_top, stable_rank, top_gap
from effscope.ranking.spectrum import Array, Kernel, MapShape, root_values, separability, spectra
from effscope.ranking.thresholds import cut
from effscope.results import StageRank
from effscope.thresholds import Threshold

SIDES = st.integers(1, 24)
SEEDS = st.integers(0, 10_000)
HALF = Threshold("ratio", 0.5)


def by_gram(matrix: Array) -> Array:
    return spectra([kernel(matrix)], lambda k, v: False)[0]


SPECTRA = ([3.0], [2.0, 2.0, 2.0, 2.0], [4.0, 2.1, 1.9, 0.0], [1.0, 0.5], [1.0, 0.0], [0.0, 0.0], [])
BY_HAND: dict[str, tuple[float | None, ...]] = {
    "effective_rank": (
        1.0,
        4.0,
        math.exp(-sum(p * math.log(p) for p in (0.5, 2.1 / 8, 1.9 / 8))),
        math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))),
        1.0,
        0.0,
        0.0,
    ),
    "stable_rank": (1.0, 4.0, 1.5013, 1.25, 1.0, 0.0, 0.0),
    "top_gap": (None, 1.0, 4 / 2.1, 2.0, None, None, None),
}
"""Measure -> its value for each of `SPECTRA`."""


@pytest.mark.parametrize("name", MEASURES)
def test_measures_by_hand(name: str) -> None:
    for values, expected in zip(SPECTRA, BY_HAND[name], strict=True):
        found = MEASURES[name](np.array(values))
        assert found is None if expected is None else found == pytest.approx(expected, abs=1e-3), values


def test_every_measure_is_a_field_of_the_row() -> None:
    assert set(MEASURES) <= {field.name for field in fields(StageRank)}


def test_the_rank_without_the_top_direction() -> None:
    spectrum, shape = np.array([10.0, 1.0, 0.9, 0.6, 0.4]), MapShape(5, 9)
    assert cut(HALF, spectrum, shape, 0).rank == 1
    assert rank_without_top(spectrum, shape, HALF, 0) == 4
    assert is_spiked(1, 5, 5) and is_spiked(20, 31, 100)
    assert not any(is_spiked(*n) for n in ((4, 4, 5), (1, 4, 5), (20, 30, 100), (0, 9, 9)))
    nothing = [rank_without_top(np.array(v), shape, HALF, 0) for v in ([], [0.0, 0.0], [1.0], [1.0, 0.0])]
    assert nothing == [0, 0, 1, 1]


def test_weights_become_matrices_row_by_row() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    blocks = Kernel("w", weight, np.array([1.0, 10.0])).blocks()
    assert blocks.dtype == np.float64
    assert np.array_equal(blocks, (np.arange(24.0).reshape(2, 12) * [[1.0], [10.0]])[None])


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS)
def test_gram_values_equal_those_of_a_float64_svd(rows: int, columns: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    found, expected = by_gram(matrix), svd(kernel(matrix))
    assert len(found) == min(rows, columns)
    assert np.all(np.diff(found) <= 0)
    assert np.allclose(found, expected, atol=1e-7 * expected[0])


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8))
def test_kernels_in_one_stack_do_not_change_each_other(seed: int, shapes: list[tuple[int, int]]) -> None:
    """Kernels of one shape share a stack; the scale of one does not change another."""
    random = np.random.default_rng(seed)
    matrices = [random.standard_normal(shape) * 10.0 ** random.integers(-12, 12) for shape in shapes * 2]
    together = spectra([kernel(m) for m in matrices], lambda k, v: False)
    for matrix, values in zip(matrices, together, strict=True):
        assert np.array_equal(values, by_gram(matrix))


def test_one_thread_per_problem_spread_over_the_cores() -> None:
    blas: list[int] = []
    used: set[str] = set()

    def look(k: Kernel, v: Array) -> bool:
        blas.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        used.add(threading.current_thread().name)
        return False

    random = np.random.default_rng(0)
    with threadpool_limits(2, "blas"):
        spectra([kernel(random.standard_normal((300 + n, 900))) for n in range(8)], look)
        after = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert (set(blas), after) == ({1}, {2})
    assert all("ThreadPool" in name for name in used)


@pytest.mark.parametrize("name", MEASURES)
def test_scaling_transposing_and_rotating_change_nothing(name: str) -> None:
    measure: Any = MEASURES[name]

    @settings(deadline=None, max_examples=40)
    @given(SIDES, SIDES, SEEDS, st.sampled_from([1e-20, 3.0, 1e20]))
    def check(rows: int, columns: int, seed: int, factor: float) -> None:
        random = np.random.default_rng(seed)
        matrix = random.standard_normal((rows, columns))
        value = measure(by_gram(matrix))
        left, right = rotation(random, rows), rotation(random, columns)
        for other in (factor * matrix, -matrix, matrix.T, left @ matrix @ right, matrix[:, ::-1]):
            found = measure(by_gram(np.ascontiguousarray(other)))
            assert found is None if value is None else found == pytest.approx(value, rel=1e-5)

    check()


@settings(deadline=None)
@given(SIDES, SIDES, SEEDS)
def test_measures_are_within_their_bounds(rows: int, columns: int, seed: int) -> None:
    values, n = by_gram(np.random.default_rng(seed).standard_normal((rows, columns))), min(rows, columns)
    assert 1 - 1e-9 <= stable_rank(values) <= n + 1e-9
    assert 1 - 1e-9 <= effective_rank(values) <= n + 1e-9
    assert stable_rank(values) <= effective_rank(values) ** 2 + 1e-9
    assert (top_gap(values) or 1.0) >= 1


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("scaled", [False, True])
def test_grouped_kernels_are_block_diagonal_maps(groups: int, scaled: bool) -> None:
    """The dense matrix of the whole map, built by hand, has the values of all groups."""
    random = np.random.default_rng(groups)
    weight = random.standard_normal((8, 3 * 9))
    scale = random.uniform(0.5, 2.0, 8) if scaled else None
    dense = np.zeros((8, groups * 27))
    for row in range(8):
        group = row // (8 // groups)
        dense[row, group * 27 : (group + 1) * 27] = weight[row] * (1 if scale is None else scale[row])
    found = spectra([kernel(weight, 3, groups, scale)], lambda k, v: False)[0]
    assert np.allclose(found, np.linalg.svd(dense, compute_uv=False))


def test_separability_is_the_energy_of_the_best_separable_terms() -> None:
    random = np.random.default_rng(0)
    separable = random.standard_normal((12, 5, 1, 1)) * random.standard_normal((1, 5, 3, 3))
    assert separability(Kernel("one term", separable)) == pytest.approx((1.0, 1.0))
    two = separable + random.standard_normal((12, 5, 1, 1)) * random.standard_normal((1, 5, 3, 3))
    one, both = separability(Kernel("two terms", two)) or (0, 0)
    assert one < 0.99 and both == pytest.approx(1.0)
    weight = random.standard_normal((6, 4, 3, 3))
    kept = 0.0
    for i in range(4):
        u, s, v = np.linalg.svd(weight[:, i].reshape(6, 9))
        rest = weight[:, i].reshape(6, 9) - s[0] * np.outer(u[:, 0], v[0])
        kept += (weight[:, i] ** 2).sum() - (rest**2).sum()
    expected = kept / (weight**2).sum()
    for scale in (1e-20, 1.0, 1e20):
        assert (separability(Kernel("any", weight * scale)) or (0, 0))[0] == pytest.approx(expected)


def test_pointwise_grouped_and_zero_kernels_have_no_separability() -> None:
    assert separability(Kernel("1x1", np.ones((4, 3, 1, 1)))) is None
    assert separability(Kernel("grouped", np.ones((4, 2, 3, 3)), groups=2)) is None
    assert separability(Kernel("zeros", np.zeros((4, 3, 3, 3)))) is None


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(2, 5), SEEDS)
def test_separability_bounds(rows: int, c_in: int, k: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((rows, c_in, k, k))
    one, two = separability(Kernel("any", weight)) or (0, 0)
    terms = min(rows, k * k)
    assert 1 / terms - 1e-9 <= one <= two <= 1
    assert two >= min(2 / terms, 1) - 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(value: float) -> None:
    matrix = np.eye(3)
    matrix[1, 2] = value
    with pytest.raises(EffscopeError, match=r"made: .*NaN or infinite"):
        by_gram(matrix)
    with pytest.raises(EffscopeError, match=r"layer: .*NaN or infinite"):
        root_values(matrix, "layer")


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty_kernels_have_no_values(shape: tuple[int, int]) -> None:
    assert len(by_gram(np.zeros(shape))) == 0


def test_roots_of_a_covariance_are_the_singular_values_of_its_factor() -> None:
    matrix = made_of([3.0, 2.0, 0.5], 3, 40, 0)
    assert np.allclose(root_values(matrix @ matrix.T, ""), [3.0, 2.0, 0.5])
    assert np.array_equal(root_values(-np.eye(2), ""), [0.0, 0.0])


def test_half_precision_weights_are_ranked_in_float64() -> None:
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).half()
    found = spectra([Kernel("half", weight.numpy())], lambda k, v: False)[0]
    assert np.allclose(found, torch.linalg.svdvals(weight.double().flatten(1)).numpy(), atol=1e-7)
