"""Least squares over the positions of feature maps, from sums in float64 whose size does not depend on the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from effscope.errors import EffscopeError

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Kernel, stride and padding of a convolution, each (height, width)."""

POSITIONS = 512
"""Positions of a map that enter the sums, evenly spread; of a smaller map all. It bounds the time of large maps."""

GOLDEN = 0.6180339887498949
"""Its multiples modulo 1 are evenly spread over 0-1."""

NOISE = 1e-12
"""A variance below this share of the mean square is rounding: the value is constant."""


@dataclass(frozen=True)
class Fit:
    """A linear map y = weight @ x + intercept.

    Attributes:
        weight: (c_out, c_in), float64.
        intercept: (c_out,), float64.
        error: mean squared error / variance of y, both summed over the outputs: 0 is exact, 1 is no better than the
            mean of y.
    """

    weight: Tensor
    intercept: Tensor
    error: float


@dataclass(frozen=True)
class Moments:
    """Means and covariances of inputs x and targets y, float64 on the CPU.

    Attributes:
        x, y: means, (c_in,) and (c_out,).
        xx, xy: covariances, (c_in, c_in) and (c_in, c_out).
        yy: variances of y, (c_out,).
    """

    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    def solve(self, prior: Tensor, damping: float) -> Fit:
        """The least-squares map, held at a prior where x does not vary.

        Args:
            prior: weights (c_out, c_in).
            damping: weight of the prior, relative to the mean variance of x.
        """
        start = prior.detach().double().cpu()
        return self.fit(start + torch.linalg.solve(self.damped(damping), self.xy - self.xx @ start.T).T)

    def fit(self, weight: Tensor) -> Fit:
        """These weights (c_out, c_in) with their best intercept."""
        w = weight.detach().double().cpu()
        left = self.yy - 2 * (w * self.xy.T).sum(1) + (w @ self.xx * w).sum(1)
        total = float(self.yy.sum())
        return Fit(w, self.y - w @ self.x, float(left.clamp_min(0).sum()) / total if total > 0 else 0.0)

    def damped(self, damping: float) -> Tensor:
        """`ridged` covariance of x."""
        return ridged(self.xx, damping)

    def inputs(self, pick: Tensor) -> Moments:
        """The moments of some inputs, by index."""
        return Moments(self.x[pick], self.y, self.xx[pick][:, pick], self.xy[pick], self.yy)

    def targets(self, pick: Tensor) -> Moments:
        """The moments of some targets, by index."""
        return Moments(self.x, self.y[pick], self.xx, self.xy[:, pick], self.yy[pick])

    def scaled(self, gain: Tensor) -> Moments:
        """The moments with every target times a gain (c_out,)."""
        return Moments(self.x, self.y * gain, self.xx, self.xy * gain, self.yy * gain**2)


def ridged(matrix: Tensor, damping: float) -> Tensor:
    """A covariance with `damping` times its mean variance added to the diagonal, so that it can be inverted."""
    ridge = damping * matrix.diagonal().mean().clamp_min(1e-30)
    return matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype)


class Regression:
    """Collects the moments of maps x and y at the same positions.

    Args:
        window: of a convolution: its inputs at one output position are then one x, in the order of `nn.Conv2d`'s
            weights (c_in, k_h, k_w). None: x is one pixel.
    """

    def __init__(self, window: Window | None = None) -> None:
        self.window = window
        self._sums: Tensor | None = None
        self._c_in = 0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add maps x (B, c_in, H, W) and y (B, c_out, H', W') with as many positions."""
        for image, target in zip(x.detach(), y.detach(), strict=True):
            inputs, targets = self._columns(image), _spread(target.flatten(1))
            self._c_in = len(inputs)
            columns = torch.cat([inputs, targets, targets.new_ones(1, targets.shape[1])]).double()
            sums = (columns @ columns.T).cpu()
            self._sums = sums if self._sums is None else self._sums + sums

    def _columns(self, image: Tensor) -> Tensor:
        if self.window is None:
            return _spread(image.flatten(1))
        kernel, stride, padding = self.window
        return _spread(F.unfold(image[None].float(), kernel, padding=padding, stride=stride)[0])

    def moments(self) -> Moments:
        """The moments of all maps so far; at least one map was added."""
        assert self._sums is not None
        _check_finite(self._sums)
        n, total, c = self._sums[-1, -1], self._sums[-1, :-1], self._c_in
        square = self._sums[:-1, :-1] / n
        joint = _without_noise(square - torch.outer(total / n, total / n), square)
        variances = joint.diagonal().clamp_min(0)
        return Moments(total[:c] / n, total[c:] / n, joint[:c, :c], joint[:c, c:], variances[c:])


def _check_finite(sums: Tensor) -> None:
    if not bool(sums.isfinite().all()):
        raise EffscopeError("the base's responses are not finite on these images: its weights are damaged")


def _without_noise(covariance: Tensor, square: Tensor) -> Tensor:
    """A covariance (..., c, c) in which values that do not vary have zeros; `square` has the mean products."""
    varies = covariance.diagonal(dim1=-2, dim2=-1) > NOISE * square.diagonal(dim1=-2, dim2=-1)
    return covariance * (varies[..., :, None] & varies[..., None, :])


def _spread(columns: Tensor) -> Tensor:
    """At most `POSITIONS` columns."""
    n = columns.shape[1]
    return columns if n <= POSITIONS else columns[:, spread_positions(n).to(columns.device)]


def spread_positions(n: int) -> Tensor:
    """`POSITIONS` of n positions, ascending: one from each of as many equal parts, at changing places in its part.

    At the same place in every part, a map whose width divides the step would be seen in few of its columns.
    """
    k = torch.arange(POSITIONS, dtype=torch.float64)
    return ((k + k * GOLDEN % 1) * n / POSITIONS).long()


class ChannelRegression:
    """Collects the sums of one small regression per channel: a target channel on the patches of one input channel.

    Args:
        window: of the depthwise convolution that is fitted.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self._sums: Tensor | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add maps x (B, c, H, W) and y (B, c, H', W')."""
        kernel, stride, padding = self.window
        for image, target in zip(x.detach(), y.detach(), strict=True):
            patches = F.unfold(image[None].float(), kernel, padding=padding, stride=stride)[0]
            columns = torch.cat([_spread(patches), _spread(target.flatten(1)).float()]).double()
            taps = columns[: len(patches)].view(len(image), -1, columns.shape[1])
            joint = torch.cat([taps, columns[len(patches) :, None], torch.ones_like(taps[:, :1])], 1)
            sums = (joint @ joint.mT).cpu()
            self._sums = sums if self._sums is None else self._sums + sums

    def solve(self, damping: float) -> ChannelFit:
        """The least-squares kernels. A channel without variance gets zeros."""
        assert self._sums is not None
        _check_finite(self._sums)
        n = self._sums[:, -1:, -1:]
        mean = self._sums[:, :-1, -1:] / n
        square = self._sums[:, :-1, :-1] / n
        joint = _without_noise(square - mean @ mean.mT, square)
        xx, xy, yy = joint[:, :-1, :-1], joint[:, :-1, -1], joint[:, -1, -1].clamp_min(0)
        ridge = damping * xx.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
        kernel = torch.linalg.solve(xx + ridge[:, None, None] * torch.eye(xx.shape[1], dtype=xx.dtype), xy)
        explained = (kernel * xy).sum(1)
        left = yy - 2 * explained + torch.einsum("ca,cab,cb->c", kernel, xx, kernel)
        intercept = mean[:, -1, 0] - (kernel * mean[:, :-1, 0]).sum(1)
        return ChannelFit(kernel, intercept, left.clamp_min(0), yy)


@dataclass(frozen=True)
class ChannelFit:
    """One linear map per channel: y = kernel . patch + intercept.

    Attributes:
        kernel: (c, k*k), float64.
        intercept, left, variance: (c,): intercepts, mean squared errors, variances of the targets.
    """

    kernel: Tensor
    intercept: Tensor
    left: Tensor
    variance: Tensor

    @property
    def error(self) -> float:
        """Squared error / variance of the targets, summed over the channels."""
        total = float(self.variance.sum())
        return float(self.left.sum()) / total if total > 0 else 0.0
