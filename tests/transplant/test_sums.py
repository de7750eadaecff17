"""Least squares from streamed sums, against NumPy on all positions at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from effscope.errors import EffscopeError
from effscope.transplant.sums import POSITIONS, ChannelRegression, Regression, spread_positions


def maps(seed: int, n: int, c: int, side: int) -> torch.Tensor:
    return torch.randn(n, c, side, side, generator=torch.Generator().manual_seed(seed))


def rows(x: torch.Tensor) -> np.ndarray:
    return x.double().movedim(1, -1).flatten(0, -2).numpy()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.sampled_from([1, 2, 7]))
def test_streamed_sums_give_the_offline_solution(seed: int, n: int, c_in: int, c_out: int, side: int) -> None:
    """Whatever the batches are, the moments are those of all positions, and the fit is that of numpy.linalg.lstsq."""
    x, y = maps(seed, n, c_in, side), maps(seed + 1, n, c_out, side) + 3
    whole, parts = Regression(), Regression()
    whole.add(x, y)
    for k in range(n):
        parts.add(x[k : k + 1], y[k : k + 1])
    a, b = whole.moments(), parts.moments()
    data = np.cov(rows(torch.cat([x, y], 1)).T, bias=True).reshape(c_in + c_out, -1)
    for found in (a, b):
        assert np.allclose(found.xx, data[:c_in, :c_in], atol=1e-10)
        assert np.allclose(found.xy, data[:c_in, c_in:], atol=1e-10)
        assert np.allclose(found.yy, np.diag(data)[c_in:], atol=1e-10)
    if n * side**2 > 3 * (c_in + 1):
        design = np.c_[rows(x), np.ones(n * side**2)]
        truth = np.linalg.lstsq(design, rows(y), rcond=None)[0]
        fit = b.solve(torch.zeros(c_out, c_in), 1e-12)
        assert np.allclose(fit.weight, truth[:-1].T, atol=1e-6)
        assert np.allclose(fit.intercept, truth[-1], atol=1e-6)
        left = ((rows(y) - design @ truth) ** 2).mean(0).sum()
        assert fit.error == pytest.approx(left / rows(y).var(0).sum(), abs=1e-6)


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), (1, 0)])
def test_a_window_sees_what_the_convolution_sees(stride: int, padding: int) -> None:
    """A convolution is a linear map of its window: the fit finds its kernel, at borders too."""
    x, kernel = maps(0, 4, 3, 9), torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    sums = Regression(((3, 3), (stride, stride), (padding, padding)))
    sums.add(x, F.conv2d(x, kernel, stride=stride, padding=padding))
    fit = sums.moments().solve(torch.zeros(5, 27), 1e-12)
    assert fit.error < 1e-9
    assert torch.allclose(fit.weight.float(), kernel.flatten(1), atol=1e-4)


def test_large_maps_are_thinned_alike_in_x_and_y() -> None:
    x = maps(0, 1, 2, 40)
    assert x[0, 0].numel() > POSITIONS
    sums = Regression()
    sums.add(x, 2 * x)
    fit = sums.moments().solve(torch.zeros(2, 2), 1e-12)
    assert torch.allclose(fit.weight, 2 * torch.eye(2, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_channel_keeps_its_prior(value: float) -> None:
    x = maps(0, 2, 3, 6)
    x[:, 1] = value
    sums = Regression()
    sums.add(x, x[:, :1] + 7)
    fit = sums.moments().solve(torch.tensor([[0.0, 4.0, 0.0]]), 1e-6)
    assert fit.weight[0].tolist() == pytest.approx([1, 4, 0], abs=1e-4)
    assert fit.intercept.item() == pytest.approx(7 - 4 * value, abs=1e-4)


def test_one_image_and_one_position_are_enough() -> None:
    sums = Regression()
    sums.add(torch.ones(1, 3, 1, 1), torch.ones(1, 2, 1, 1))
    fit = sums.moments().solve(torch.zeros(2, 3), 1e-4)
    assert fit.error == 0
    assert bool(fit.weight.isfinite().all())


def test_damaged_responses_are_refused() -> None:
    sums, channels = Regression(), ChannelRegression(((3, 3), (1, 1), (1, 1)))
    x = maps(0, 1, 2, 4)
    for found in (sums, channels):
        found.add(x, x / 0)
    with pytest.raises(EffscopeError, match="not finite"):
        sums.moments()
    with pytest.raises(EffscopeError, match="not finite"):
        channels.solve(1e-4)


def test_channel_kernels_are_those_of_a_depthwise_convolution() -> None:
    x, kernel = maps(0, 3, 4, 8), torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(2))
    sums = ChannelRegression(((5, 5), (2, 2), (2, 2)))
    for k in range(3):
        sums.add(x[k : k + 1], F.conv2d(x[k : k + 1], kernel, stride=2, padding=2, groups=4) - 1)
    fit = sums.solve(1e-12)
    assert torch.allclose(fit.kernel.float(), kernel.flatten(1), atol=1e-3)
    assert torch.allclose(fit.intercept.float(), torch.full((4,), -1.0), atol=1e-4)
    assert fit.error < 1e-8


@pytest.mark.parametrize("width", [32, 40, 52, 64, 80, 104, 128, 160, 256, 512])
def test_every_part_of_a_map_is_seen_as_often_as_it_should_be(width: int) -> None:
    """Borders too: a convolution pads there, so it answers otherwise."""
    found = spread_positions(width * width)
    assert len(found.unique()) >= 0.9 * POSITIONS
    for places in (found % width, found // width):
        counts = torch.bincount(places, minlength=width).double()
        expected = POSITIONS / width
        allowed = 3 * expected**0.5 + 1
        assert (counts - expected).abs().max() <= allowed
        outer = counts[0] + counts[-1]
        assert abs(outer - 2 * expected) <= 3 * (2 * expected) ** 0.5 + 1
        assert places.double().mean() == pytest.approx((width - 1) / 2, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.floats(-100, 100))
def test_rounding_is_not_variance(seed: int, value: float) -> None:
    """A constant channel beside a varying one, both kinds of sums: finite, and the constant one explains nothing."""
    x = maps(seed, 3, 2, 5)
    x[:, 1] = value + 0.1
    y = 2 * x[:, :1] + 1
    regression = Regression()
    regression.add(x, y)
    fit = regression.moments().solve(torch.zeros(1, 2), 1e-4)
    assert fit.weight[0].tolist() == pytest.approx([2, 0], abs=1e-2)
    channels = ChannelRegression(((1, 1), (1, 1), (0, 0)))
    channels.add(x, x)
    solved = channels.solve(1e-4)
    assert solved.kernel.flatten().tolist() == pytest.approx([1, 0], abs=1e-3)
    assert solved.intercept[1].item() == pytest.approx(value + 0.1, rel=1e-6, abs=1e-6)
