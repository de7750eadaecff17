"""Separable approximations: exact where they can be, better with every term, best for the inputs at hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from effscope.transplant.choose import needed
from effscope.transplant.separable import allot, one_term_per_output, responses, separate, terms
from effscope.transplant.sums import Moments, Regression

WINDOW = ((3, 3), (1, 1), (1, 1))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(seed: int, c: int) -> Tensor:
    """Images whose neighbouring pixels and channels are alike, as in a network."""
    x = torch.randn(4, c, 12, 12, generator=generator(seed), dtype=torch.float64)
    mixed = torch.einsum("dc,bchw->bdhw", torch.randn(c, c, generator=generator(seed + 1), dtype=torch.float64), x)
    return F.avg_pool2d(mixed, 3, 1, 1)


def moments_of(x: Tensor, kernel: Tensor) -> Moments:
    sums = Regression(WINDOW)
    sums.add(x, F.conv2d(x, kernel, padding=1))
    return sums.moments()


def every(slots: int) -> Tensor:
    return torch.ones(slots, 9, dtype=torch.bool)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3))
def test_a_separable_kernel_is_found_exactly(seed: int, c_in: int, c_out: int, n_terms: int) -> None:
    """A sum of n terms per channel needs n slots per channel (never more than c_out terms differ)."""
    p = torch.randn(n_terms, c_out, c_in, 1, generator=generator(seed), dtype=torch.float64)
    d = torch.randn(n_terms, 1, c_in, 9, generator=generator(seed + 1), dtype=torch.float64)
    kernel = (p * d).sum(0)
    moments = moments_of(smooth(seed, c_in), kernel.view(c_out, c_in, 3, 3))
    found = separate(kernel, moments, n_terms * c_in, every(n_terms * c_in))
    assert min(found.errors) < 1e-6


def test_the_error_falls_with_every_term_and_every_round() -> None:
    kernel = torch.randn(8, 4, 9, generator=generator(0), dtype=torch.float64)
    moments = moments_of(smooth(3, 4), kernel.view(8, 4, 3, 3))
    found = [separate(kernel, moments, slots, every(slots)) for slots in (4, 8, 12, 20, 32)]
    errors = [min(one.errors) for one in found]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6
    for one in found:
        assert all(later <= earlier + 1e-9 for earlier, later in zip(one.errors, one.errors[1:], strict=False))


def test_least_squares_is_at_least_as_good_as_the_decomposition() -> None:
    """On the same inputs: plain SVD, then SVD weighted with the patches, then with least squares."""
    x = smooth(5, 6)
    kernel = torch.randn(10, 6, 9, generator=generator(1), dtype=torch.float64)
    moments = moments_of(x, kernel.view(10, 6, 3, 3))
    blocks = moments.xx.view(6, 9, 6, 9).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    errors = []
    for covariance in (torch.eye(9, dtype=torch.float64).expand(6, 9, 9), blocks):
        pointwise, depthwise, _ = terms(kernel, covariance)
        approximation = torch.einsum("io,ik->oik", pointwise[:, 0], depthwise[:, 0])
        errors.append(moments.fit(approximation.flatten(1)).error)
    assert min(separate(kernel, moments, 6, every(6)).errors) < min(errors)


def test_weighted_terms_are_the_best_for_one_channel() -> None:
    """With a single channel the weighted decomposition is the optimum: least squares cannot gain."""
    kernel = torch.randn(7, 1, 9, generator=generator(2), dtype=torch.float64)
    moments = moments_of(smooth(8, 1), kernel.view(7, 1, 3, 3))
    found = separate(kernel, moments, 1, every(1))
    assert found.errors[-1] == pytest.approx(found.errors[0], rel=1e-3)


def test_masked_pixels_stay_zero() -> None:
    kernel = torch.randn(5, 3, 9, generator=generator(4), dtype=torch.float64)
    moments = moments_of(smooth(2, 3), kernel.view(5, 3, 3, 3))
    masks = every(3)
    masks[1] = torch.tensor([n == 4 for n in range(9)])
    found = separate(kernel, moments, 3, masks)
    assert not bool((found.depthwise * ~masks).any())


def test_dead_channels_do_no_harm() -> None:
    x = smooth(1, 4)
    x[:, 2] = 0
    kernel = torch.randn(6, 4, 9, generator=generator(6), dtype=torch.float64)
    found = separate(kernel, moments_of(x, kernel.view(6, 4, 3, 3)), 4, every(4))
    assert bool(found.depthwise.isfinite().all())
    assert bool(found.pointwise.isfinite().all())


def test_responses_are_those_of_the_kernels() -> None:
    x = smooth(9, 3)
    found = torch.randn(3, 9, generator=generator(3), dtype=torch.float64)
    mean, variance = responses(found, torch.arange(3), moments_of(x, torch.ones(1, 3, 3, 3, dtype=torch.float64)))
    y = F.conv2d(x, found.view(3, 1, 3, 3), padding=1, groups=3).movedim(1, 0).flatten(1)
    assert torch.allclose(mean, y.mean(1), atol=1e-6)
    assert torch.allclose(variance, y.var(1, unbiased=False), rtol=1e-5)


def test_slots_go_to_the_strongest_terms_and_every_channel_has_one() -> None:
    strength = torch.tensor([[9.0, 8.0, 1.0], [2.0, 1.0, 0.5]])
    assert allot(strength, 2) == [(0, 0), (1, 0)]
    assert allot(strength, 3) == [(0, 0), (1, 0), (0, 1)]
    assert allot(strength, 6) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert sorted(allot(strength, 8)) == sorted([*allot(strength, 6), (0, 0), (1, 0)])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 5))
def test_one_term_per_output_is_found_exactly(seed: int, c_in: int, c_out: int) -> None:
    p = torch.randn(c_out, c_in, 1, generator=generator(seed), dtype=torch.float64)
    d = torch.randn(c_out, 1, 9, generator=generator(seed + 1), dtype=torch.float64)
    moments = moments_of(smooth(seed, c_in), (p * d).view(c_out, c_in, 3, 3))
    found = one_term_per_output(p * d, moments)
    cosine = F.cosine_similarity(found, p[..., 0], dim=1).abs()
    assert cosine.tolist() == pytest.approx([1] * c_out, abs=1e-3)


def test_elimination_keeps_what_brute_force_keeps() -> None:
    """Targets that read two of five groups exactly, and the rest weakly."""
    x = torch.randn(400, 10, generator=generator(0), dtype=torch.float64)
    weights = torch.zeros(10, 3, dtype=torch.float64)
    weights[[2, 3, 8, 9]] = torch.randn(4, 3, generator=generator(1), dtype=torch.float64) + 2
    weights += 0.05 * torch.randn(10, 3, generator=generator(2), dtype=torch.float64)
    sums = Regression()
    sums.add(x.T[None, :, :, None], (x @ weights).T[None, :, :, None])
    groups = torch.arange(10).view(5, 2)
    (kept,) = needed(sums.moments(), [(groups, 2)], 1e-9)
    assert kept.tolist() == [1, 4]
    first, second = needed(sums.moments(), [(groups[:3], 1), (groups[3:], 1)], 1e-9)
    assert (first.tolist(), second.tolist()) == ([1], [1])
