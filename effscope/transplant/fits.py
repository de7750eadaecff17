"""Fit convolutions of the new part to what a convolution of the old part responds, on the new part's own inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.transplant.passes import New, Old, Pair
from effscope.transplant.separable import responses, separate
from effscope.transplant.sums import Moments, Regression, Window
from effscope.transplant.units import NoClosedForm, Unit

DAMPING = 1e-4
"""Weight of the old weights in a fit, relative to the mean variance of the inputs."""


def refit(pair: Pair, new: str, old: str, prior: Tensor | None = None, rows: Tensor | None = None) -> float:
    """Fit a dense convolution of the new part to the responses of one of the old part, before its norm.

    Args:
        pair: both parts.
        new, old: paths of units.
        prior: weights (c_out, c_in * k*k) for inputs that do not vary; None: the present weights.
        rows: (c_out,) of the new unit: the old output of each; None: the same.

    Returns:
        Squared error / variance of the old responses.
    """
    to, of = Unit(pair.new, new), Unit(pair.old, old)
    sums = Regression(None if to.conv.kernel_size == to.conv.stride == (1, 1) else window_of([to.conv]))
    pair.gather((sums.add, (New(to.at("conv")), Old(of.at("conv")))))
    pick = torch.arange(of.conv.out_channels) if rows is None else rows
    found = sums.moments().targets(pick).solve(to.kernel.flatten(1) if prior is None else prior, DAMPING)
    to.set_kernel(found.weight)
    intercept = torch.zeros(of.conv.out_channels, dtype=torch.float64)
    intercept[pick] = found.intercept
    to.set_norm_of(of, intercept, pick)
    return found.error


def window_of(convs: Sequence[nn.Conv2d]) -> Window:
    """The window of the largest of some convolutions that read the same positions.

    Raises:
        NoClosedForm: they do not read the same positions.
    """
    sides = [(conv.kernel_size, conv.stride, conv.padding, conv.dilation) for conv in convs]
    aligned = all(
        padding == (k[0] // 2, k[1] // 2) and d == (1, 1) and k[0] % 2 == k[1] % 2 == 1 for k, _, padding, d in sides
    )
    if not aligned or len({stride for _, stride, *_ in sides}) > 1:
        raise NoClosedForm("its kernels are not centred on the same positions")
    height, width = (max(kernel[d] for kernel, *_ in sides) for d in (0, 1))
    stride = convs[0].stride
    return (height, width), (stride[0], stride[1]), (height // 2, width // 2)


def centred(kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Kernels (..., k_h, k_w) in the middle of larger ones, or the middle of them."""
    (height, width), (k_h, k_w) = size, kernel.shape[-2:]
    return F.pad(kernel, [(width - k_w) // 2] * 2 + [(height - k_h) // 2] * 2)


@dataclass(frozen=True)
class Depthwise:
    """Depthwise units of the new part side by side, each on its own channels of one map.

    Attributes:
        units: in the order of their channels; usually one.
        tap: where the map enters.
        act: the activation after all of them.
    """

    units: tuple[Unit, ...]
    tap: New
    act: nn.Module

    @classmethod
    def at(cls, part: nn.Module, path: str) -> Depthwise:
        """The depthwise convolution at a path, with any other branch there silenced.

        It is one unit; or one unit per group of channels (mixed kernels, `MixConv`); or the small one of two parallel
        units (`RepVGGDW`).
        """
        names = {name for name, _ in part.get_submodule(path).named_children()}
        if "conv1" in names:
            Unit(part, f"{path}.conv").silence()
            small = Unit(part, f"{path}.conv1")
            return cls((small,), New(small.at("conv")), Unit(part, path).act)
        groups = [Unit(part, f"{path}.{n}") for n in sorted(int(name) for name in names if name.isdigit())]
        if groups:
            return cls(tuple(groups), New(f"{path}.groups"), groups[0].act)
        return cls((Unit(part, path),), New(Unit(part, path).at("conv")), Unit(part, path).act)

    def moments(self, pair: Pair, of: Unit) -> Moments:
        """Moments of the patches that the units read, and of an old unit's responses."""
        sums = Regression(self.window(of))
        pair.gather((sums.add, (self.tap, Old(of.at("conv")))))
        return sums.moments()

    def window(self, of: Unit) -> Window:
        """The window of the largest kernel, the old one included."""
        return window_of([*(unit.conv for unit in self.units), of.conv])

    def set(self, of: Unit, moments: Moments, slots: int) -> tuple[Tensor, Tensor]:
        """Set the kernels to the best terms of an old unit's kernel, and the activations to linear.

        Args:
            of: the old unit.
            moments: from `moments`, of the old unit's input channels.
            slots: number of the units' channels.

        Returns:
            Input channel of each slot; pointwise weights (c_out, slots) for the units' outputs.
        """
        size = self.window(of)[0]
        gain = of.gain
        scaled = moments.scaled(gain)
        kernel = centred(of.conv.weight.detach().double().cpu(), size).flatten(2)
        start = scaled.solve((kernel * gain[:, None, None]).flatten(1), DAMPING).weight.view(kernel.shape)
        found = separate(start, scaled, slots, self._masks(size))
        mean, variance = responses(found.depthwise, found.channels, moments)
        slope, first = torch.empty_like(mean), 0
        for unit in self.units:
            own = slice(first, first + unit.conv.out_channels)
            first = own.stop
            unit.set_kernel(centred(found.depthwise[own].view(-1, 1, *size), window_of([unit.conv])[0]))
            slope[own] = unit.set_linear(mean[own], variance[own], self.act)
        return found.channels, found.pointwise / torch.where(gain == 0, 1.0, gain)[:, None] / slope

    def _masks(self, size: tuple[int, int]) -> Tensor:
        masks = [centred(torch.ones(unit.conv.out_channels, *unit.conv.kernel_size), size) for unit in self.units]
        return torch.cat(masks).flatten(1) > 0


def fit_separable(pair: Pair, depthwise: str, pointwise: str, old: str, rows: Tensor | None = None) -> float:
    """Fit a depthwise and a pointwise unit of the new part to one convolution of the old part.

    Args:
        pair: both parts.
        depthwise, pointwise, old: paths.
        rows: the old output of each output of the pointwise; None: the same.

    Returns:
        Squared error / variance of the old responses.

    Raises:
        NoClosedForm: the kernels are not centred on the same positions, or the activation is linear nowhere.
    """
    to, of = Depthwise.at(pair.new, depthwise), Unit(pair.old, old)
    _, prior = to.set(of, to.moments(pair, of), of.conv.in_channels)
    return refit(pair, pointwise, old, prior if rows is None else prior[rows], rows)
