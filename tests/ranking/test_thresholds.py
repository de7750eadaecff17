"""Counts above thresholds: by hand, and by Gram matrix against a plain float64 SVD, over the whole zoo."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_files import with_random_norms
from support.spectra import kernel, made_of, svd

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.nn.build import build
from effscope.ranking.convs import every_conv
from effscope.ranking.kernels import kernels
from effscope.ranking.spectrum import Array, Kernel, MapShape
from effscope.ranking.thresholds import RULES, check_for_outputs, cut, spectra_for
from effscope.thresholds import KINDS, Threshold, read_threshold

SQUARE = MapShape(4, 4)
HALF = read_threshold(0.5)
SCALES = st.sampled_from([1e-20, 1.0, 1e20])
THRESHOLDS = [read_threshold(t) for t in (0.1, 0.3, 0.5, 0.7, "energy:0.5", "energy:0.9", "energy:0.99", "mp")]


def counts(found: Kernel, values: Array, thresholds: list[Threshold]) -> list[int]:
    return [cut(threshold, values, found.shape, found.eps).rank for threshold in thresholds]


def agree(found: list[Kernel], thresholds: list[Threshold] = THRESHOLDS) -> None:
    """Our counts equal those of the plain SVD of every kernel."""
    for one, values in zip(found, spectra_for(found, thresholds), strict=True):
        assert counts(one, values, thresholds) == counts(one, svd(one), thresholds), one.name


@pytest.mark.parametrize(
    ("text", "values", "rank"),
    [
        (0.5, [1.0, 0.51, 0.5, 0.1], 2),  # at the threshold is not above it
        ("half", [4.0, 2.1, 1.9, 0.0], 2),
        ("ratio:0.05", [1.0, 0.5, 0.06, 0.05], 3),
        ("energy:0.8", [2.0, 1.0, 0.0, 0.0], 1),  # 4 of 5 is .8: reached
        ("energy:0.81", [2.0, 1.0, 0.0, 0.0], 2),
        ("energy:0.999", [1.0, 1.0, 1.0, 1.0], 4),
        ("eps", [1.0, 1e-3, 4.1e-6, 3.9e-6], 3),  # 4 * 1e-6
        ("eps:10", [1.0, 1e-3, 4.1e-6, 3.9e-6], 2),
    ],
)
def test_counts_by_hand(text: Any, values: list[float], rank: int) -> None:
    assert cut(read_threshold(text), np.array(values), SQUARE, 1e-6).rank == rank


def test_above_the_noise_edge_by_hand() -> None:
    """Median 1 of a square matrix: the quarter circle has its median at .8079 of sqrt(n), its edge at 2 sqrt(n)."""
    edge = 2 / 0.80794550659903
    values = np.array([edge * 1.01, edge * 0.99, 1.0, 0.5, 0.1])
    assert cut(read_threshold("mp"), values, MapShape(5, 5), 0).rank == 1
    assert cut(read_threshold("mp:0.9"), values, MapShape(5, 5), 0).rank == 2


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_no_values_have_rank_zero(kind: str) -> None:
    for values in (np.zeros(3), np.zeros(0)):
        found = cut(Threshold(kind, KINDS[kind].default), values, MapShape(3, 3), 1e-7)
        assert (found.rank, found.tie, found.resolved) == (0, False, True)


def test_every_kind_has_a_rule() -> None:
    assert list(RULES) == list(KINDS)


@pytest.mark.parametrize(
    ("given", "kind", "level", "spelling"),
    [
        (0.5, "ratio", 0.5, 0.5), ("0.5", "ratio", 0.5, 0.5), ("half", "ratio", 0.5, 0.5), (".25", "ratio", 0.25, 0.25),
        ("ratio:0.4", "ratio", 0.4, 0.4), ("energy", "energy", 0.9, "energy:0.9"),
        ("energy:.95", "energy", 0.95, "energy:0.95"), ("eps", "eps", 1.0, "eps"), ("eps:10", "eps", 10.0, "eps:10.0"),
        (" mp ", "mp", 1.0, "mp"), ("mp:1.5", "mp", 1.5, "mp:1.5"),
        ("energy:0.9999999", "energy", 0.9999999, "energy:0.9999999"),
    ],
)  # fmt: skip
def test_spellings_that_are_read(given: Any, kind: str, level: float, spelling: Any) -> None:
    found = read_threshold(given)
    assert (found.kind, found.level, found.spelling) == (kind, level, spelling)
    assert read_threshold(found.spelling) == found
    assert found.words


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("foo", "unknown `threshold` 'foo'"), ("foo:1", "unknown `threshold`"), ("", "unknown `threshold`"),
        ("energy:nan", "between 0 and 1"),
        ("energy:1", "between 0 and 1"), ("energy:x", "unknown"), (0.0, "between 0 and 1"),
        (1.0, "between 0 and 1"), (-0.1, "between 0 and 1"), (float("nan"), "between 0 and 1"),
        (float("inf"), "between 0 and 1"), ("eps:0", "above 0"), ("eps:-1", "above 0"), ("mp:inf", "above 0"),
        ("0,5", "unknown"), ("0.5:1", "unknown"), ("half:0.3", "unknown"),
    ],
)  # fmt: skip
def test_impossible_thresholds_are_refused(given: Any, message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        read_threshold(given)


def test_outputs_have_no_noise_edge_and_no_tiny_values() -> None:
    for threshold in (read_threshold("mp"), read_threshold(1e-7)):
        with pytest.raises(EffscopeError, match="`threshold`"):
            check_for_outputs(threshold)
    check_for_outputs(read_threshold("energy:0.9"))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 24), st.integers(1, 40), st.integers(0, 10_000), st.sampled_from([1e-20, 1.0, 1e20]))
def test_gram_counts_of_random_matrices(rows: int, columns: int, seed: int, scale: float) -> None:
    agree([kernel(scale * np.random.default_rng(seed).standard_normal((rows, columns)))])


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 24), st.integers(2, 40), st.integers(1, 5), st.integers(0, 10_000), SCALES)
def test_gram_counts_of_rank_deficient_matrices(rows: int, columns: int, count: int, seed: int, scale: float) -> None:
    values = list(np.linspace(1.0, 0.6, min(count, rows, columns)))
    agree([kernel(scale * made_of(values, rows, columns, seed))])
    found = spectra_for([kernel(scale * made_of(values, rows, columns, seed))], [HALF])[0]
    assert np.allclose(found[: len(values)], np.multiply(scale, values), rtol=1e-7)


TIED = [[1.0] * 8, [1.0, 0.5], [1.0, 0.8, 0.5, 0.3, 0.1], [1.0, 0.5 + 1e-9], [1.0, 0.5 - 5e-7], [1.0] * 5 + [0.5] * 5]


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("values", TIED)
def test_gram_counts_of_ties(values: list[float], scale: float) -> None:
    """The SVD decides them, so the counts equal those of the plain SVD, up to rounding."""
    for seed in range(5):
        agree([kernel(scale * made_of(values, 16, 30, seed))])
    agree([kernel(scale * np.diag(values))])


def test_gram_counts_of_zeros_and_empty_kernels() -> None:
    agree([kernel(np.zeros(shape)) for shape in ((3, 5), (5, 3), (1, 1), (0, 4), (4, 0))])


@pytest.mark.parametrize("off", [0.0, 1e-9, -1e-9, 5e-7, -5e-7])
def test_a_value_at_the_threshold_is_a_tie_that_the_svd_decides(off: float, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []
    real = np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda m, **o: (asked.append(m.shape), real(m, **o))[1])
    made = kernel(np.diag([1.0, 0.8, 0.5 + off, 0.1]))
    found = cut(HALF, spectra_for([made], [HALF])[0], made.shape, made.eps)
    assert asked == [(1, 4, 4)]
    assert found.tie
    assert found.rank == (3 if off > 0 else 2)


def test_energy_equal_to_the_threshold_up_to_rounding_is_a_tie() -> None:
    found = cut(read_threshold("energy:0.8"), np.array([2.0, 1.0]), MapShape(2, 2), 0)
    assert (found.rank, found.tie, found.resolved) == (1, True, False)
    assert not cut(read_threshold("energy:0.9"), np.array([2.0, 1.0]), MapShape(2, 2), 0).tie


def test_values_near_the_threshold_need_no_svd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.linalg, "svd", lambda *a, **k: pytest.fail("no SVD is needed"))
    for off in (1e-4, -1e-4):
        made = kernel(np.diag([1.0, 0.5 + off]))
        found = cut(HALF, spectra_for([made], [HALF])[0], made.shape, made.eps)
        assert not found.tie
        assert found.rank == (2 if off > 0 else 1)


def test_eps_is_right_for_a_rank_deficient_kernel_and_a_gram_matrix_is_not() -> None:
    """128 x 576 of rank 40: in float64, and stored as float32 and float16."""
    eps = read_threshold("eps")
    matrix = made_of([1.0] * 40, 128, 576, 0)
    for dtype in (np.float64, np.float32, np.float16):
        stored = matrix.astype(dtype).reshape(128, 64, 3, 3)
        made = Kernel("w", stored, eps=float(np.finfo(dtype).eps))
        values = spectra_for([made], [eps])[0]
        assert cut(eps, values, made.shape, made.eps).rank == 40, dtype
    gram = spectra_for([Kernel("w", matrix.reshape(128, 64, 3, 3), eps=2.0**-52)], [])[0]
    assert cut(eps, gram, made.shape, 2.0**-52).rank > 40


def test_thresholds_too_small_for_a_gram_matrix_are_resolved() -> None:
    made = kernel(made_of([1.0, 1e-7, 1e-9], 5, 6, 0))
    for level, rank in ((1e-8, 2), (1e-10, 3)):
        threshold = read_threshold(level)
        assert cut(threshold, spectra_for([made], [threshold])[0], made.shape, made.eps).rank == rank


@settings(deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 10_000), st.floats(0.01, 0.9))
def test_higher_levels_never_count_more(rows: int, columns: int, seed: int, level: float) -> None:
    made = kernel(np.random.default_rng(seed).standard_normal((rows, columns)))
    values = svd(made)
    for kind, falls in (("ratio", True), ("energy", False), ("eps", True), ("mp", True)):
        low, high = (cut(Threshold(kind, f), values, made.shape, 1e-7).rank for f in (level, level * 1.1))
        assert (low >= high) if falls else (low <= high)
        assert 0 <= high <= min(rows, columns)


def zoo_kernels(name: str) -> list[Kernel]:
    network = with_random_norms(build(expand(layout(name))))
    return list(kernels(network.spec, network.state_dict(), [conv.node for conv in every_conv(network.spec)]).values())


SMALLEST = ("yolov8n", "yolov10n", "yolo11n", "yolox-nano", "yolov9t", "yolov5n-p6", "efficientnet-b0-yolov8")


@pytest.mark.parametrize("name", SMALLEST)
def test_gram_counts_of_every_convolution_of_small_models(name: str) -> None:
    agree(zoo_kernels(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if name not in SMALLEST])
def test_gram_counts_of_every_convolution_of_the_zoo(name: str) -> None:
    agree(zoo_kernels(name))


def test_words_for_tables() -> None:
    assert read_threshold("half").words == "singular values above 0.5 of the largest"
    assert "90 %" in read_threshold("energy:0.9").words
    assert math.isinf(KINDS["eps"].below)
