"""Closed form of single convolutions: Conv -> SCDown, Conv -> GhostConv, dense -> depthwise-separable."""

from __future__ import annotations

import torch
from torch import Tensor

from effscope.transplant.fits import DAMPING, fit_separable, refit, window_of
from effscope.transplant.passes import New, Old, Pair
from effscope.transplant.separable import one_term_per_output
from effscope.transplant.sums import ChannelRegression, Moments, Regression
from effscope.transplant.units import NoClosedForm, Unit

SEPARATED = (("0", "1"), ("dconv", "pconv"))
"""Names of the depthwise and the pointwise unit at the path of the dense one: light class head; YOLOX's forms."""

RECTIFIED = 2.0
"""Spread of a map that enters an activation which shall bend it."""


def separated(pair: Pair) -> float:
    """Every dense k x k that has become a depthwise and a pointwise convolution at the same path, in order.

    Returns:
        Mean over these convolutions of squared error / variance of the old responses.

    Raises:
        NoClosedForm: there is none.
    """
    paths = [path for path, _ in pair.new.named_modules() if Unit(pair.old, path).found]
    errors = [
        fit_separable(pair, _join(path, depthwise), _join(path, pointwise), path)
        for path in paths
        for depthwise, pointwise in SEPARATED
        if Unit(pair.new, _join(path, pointwise)).found
    ]
    if not errors:
        raise NoClosedForm("no convolution has become separable")
    return sum(errors) / len(errors)


def separated_csp(pair: Pair) -> float:
    """YOLOX's CSPLayer: the separated convolutions, then the closing one. Returns the error of the closing one."""
    separated(pair)
    return refit(pair, "cv3", "cv3")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def decoupled(pair: Pair) -> float:
    """Conv k x k -> SCDown: one separable term per output channel, fitted to the old output after its activation.

    SCDown has no activation at its end, so it aims at what the readers get. The activation after its pointwise
    convolution is linear, or bends the map or its negative: whatever gives the channel the least error.

    Returns:
        Squared error / variance of the old output.
    """
    old, pointwise, depthwise = Unit(pair.old, ""), Unit(pair.new, "cv1"), Unit(pair.new, "cv2")
    sums = Regression(window_of([depthwise.conv, old.conv]))
    pair.gather((sums.add, (New(pointwise.at("conv")), Old("act"))))
    moments, kernel = sums.moments(), old.kernel * old.gain[:, None, None]
    start = moments.solve(kernel.flatten(1), DAMPING).weight.view(kernel.shape)
    weights = one_term_per_output(start, moments)
    pointwise.set_kernel(weights)
    mean, variance = _pixels(weights, moments, kernel.shape[2])
    bends = [pointwise.linear_range()[:2], (RECTIFIED, 0.0), (-RECTIFIED, 0.0)]
    fits = []
    for scale, shift in bends:
        pointwise.set_spread(mean, variance, torch.full_like(mean, scale), torch.full_like(mean, shift))
        per_channel = ChannelRegression(window_of([depthwise.conv]))
        pair.gather((per_channel.add, (New(depthwise.at("conv")), Old("act"))))
        fits.append(per_channel.solve(DAMPING))
    best, channel = torch.stack([fit.left for fit in fits]).argmin(0), torch.arange(len(mean))
    spreads = torch.tensor(bends, dtype=mean.dtype)[best]
    pointwise.set_spread(mean, variance, spreads[:, 0], spreads[:, 1])
    depthwise.set_kernel(torch.stack([fit.kernel for fit in fits])[best, channel])
    depthwise.set_bias(torch.stack([fit.intercept for fit in fits])[best, channel])
    left = torch.stack([fit.left for fit in fits])[best, channel]
    return float(left.sum() / fits[0].variance.sum().clamp_min(1e-30))


def _pixels(weights: Tensor, moments: Moments, k: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of pointwise responses, from the middle pixels of the patches."""
    middle = moments.inputs(torch.arange(weights.shape[1]) * k + k // 2)
    return weights @ middle.x, (weights @ middle.xx * weights).sum(1).clamp_min(0)


def ghost(pair: Pair) -> float:
    """Conv -> GhostConv: the first half of the channels is copied, the other half fitted to the old responses.

    Returns:
        Squared error / variance of the old responses in the fitted half.

    Raises:
        NoClosedForm: the first half is not half of the old convolution.
    """
    old, primary, cheap = Unit(pair.old, ""), Unit(pair.new, "cv1"), Unit(pair.new, "cv2")
    half = primary.conv.out_channels
    if old.conv.weight.shape[1:] != primary.conv.weight.shape[1:] or old.conv.out_channels != 2 * half:
        raise NoClosedForm("its first half is not half of the old convolution")
    intercept = torch.zeros(2 * half, dtype=torch.float64)
    primary.set_kernel(old.kernel[:half])
    primary.set_norm_of(old, intercept, torch.arange(half))
    sums = ChannelRegression(window_of([cheap.conv]))
    pair.gather((lambda x, y: sums.add(x, y[:, half:]), (New(cheap.at("conv")), Old(old.at("conv")))))
    fit = sums.solve(DAMPING)
    cheap.set_kernel(fit.kernel)
    intercept[half:] = fit.intercept
    cheap.set_norm_of(old, intercept, half + torch.arange(half))
    return fit.error
