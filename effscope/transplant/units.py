"""A convolution with its batch norm and activation, and the ways to set them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effscope.nn.fuse import norm_scale

NEAR: dict[type[nn.Module], tuple[float, float, float]] = {
    nn.SiLU: (0.05, 0.0, 0.5),
    nn.Hardswish: (0.05, 0.0, 0.5),
    nn.GELU: (0.05, 0.0, 0.5),
    nn.Mish: (0.05, 0.0, 0.6),
    nn.ReLU: (1.0, 6.0, 1.0),
    nn.LeakyReLU: (1.0, 6.0, 1.0),
    nn.ReLU6: (0.5, 3.0, 1.0),
    nn.Identity: (1.0, 0.0, 1.0),
}
"""Activation -> (scale, shift, slope): of a map z with unit variance, act(scale * z + shift) is nearly
scale * slope * z + constant. A smooth activation is linear near 0, with half its slope: no shift, so a gradient step on
the next weights does not move their output's mean."""

WIDE_SHIFT = 6.0
"""Shift after which SiLU and its kind are nearly the identity, down to -6: what lies below, a second SiLU flattens."""

REPEATABLE = (nn.ReLU, nn.ReLU6, nn.Identity)
"""Activations that change nothing when they are applied a second time."""

LEAST_VARIANCE = 1e-6
"""Variance that is assumed for a channel that never varies."""


class NoClosedForm(Exception):
    """This part cannot be said in closed form; the message says why."""


@dataclass(frozen=True)
class Unit:
    """The modules at a path of a part: a convolution without bias, its batch norm, its activation.

    Attributes:
        part: a layer or a network.
        path: path of the unit in it; empty for a layer that is one unit.
    """

    part: nn.Module
    path: str

    def at(self, name: str) -> str:
        """Path of a module of this unit: "conv", "bn", "act"."""
        return f"{self.path}.{name}" if self.path else name

    @property
    def conv(self) -> nn.Conv2d:
        found = self.part.get_submodule(self.at("conv"))
        assert isinstance(found, nn.Conv2d)
        return found

    @property
    def norm(self) -> nn.BatchNorm2d:
        found = self.part.get_submodule(self.at("bn"))
        assert isinstance(found, nn.BatchNorm2d)
        return found

    @property
    def act(self) -> nn.Module:
        """The activation; the identity for a unit without one."""
        try:
            return self.part.get_submodule(self.at("act"))
        except AttributeError:
            return nn.Identity()

    @property
    def kernel(self) -> Tensor:
        """Weights (c_out, c_in, k*k), float64 on the CPU."""
        return self.conv.weight.detach().double().cpu().flatten(2)

    @property
    def gain(self) -> Tensor:
        """Factor of the norm, (c_out,), float64 on the CPU."""
        return norm_scale(self.norm.state_dict(), self.norm.eps).cpu()

    @property
    def found(self) -> bool:
        """Whether the part has a convolution and a norm at this path."""
        known = dict(self.part.named_modules())
        return isinstance(known.get(self.at("conv")), nn.Conv2d) and isinstance(
            known.get(self.at("bn")), nn.BatchNorm2d
        )

    def set_kernel(self, kernel: Tensor) -> None:
        """Set the weights from (c_out, c_in * k*k) or any shape of as many values."""
        with torch.no_grad():
            self.conv.weight.copy_(kernel.reshape(self.conv.weight.shape))

    def rearrange(self, channels: Tensor) -> None:
        """Give every output channel the weights and the norm of another one, by index."""
        with torch.no_grad():
            for tensor in (self.conv.weight, *self._norm_tensors()):
                tensor.copy_(tensor[channels.to(tensor.device)].clone())

    def set_rows(self, old: Unit, rows: Tensor) -> None:
        """Copy some output channels of a unit with the same inputs."""
        self.set_kernel(old.kernel[rows])
        self.set_norm_of(old, torch.zeros(old.conv.out_channels, dtype=torch.float64), rows)

    def set_joined(self, *others: Unit) -> None:
        """Copy several units with the same input, one after the other."""
        with torch.no_grad():
            self.conv.weight.copy_(torch.cat([other.conv.weight for other in others]))
            for own, *found in zip(self._norm_tensors(), *(other._norm_tensors() for other in others), strict=True):
                own.copy_(torch.cat(found))

    def linear_range(self, act: nn.Module | None = None) -> tuple[float, float, float]:
        """Scale, shift and slope of `NEAR`, for an activation; None: the unit's own.

        Raises:
            NoClosedForm: it is not known where this activation is linear.
        """
        kind = type(self.act if act is None else act)
        if kind not in NEAR:
            raise NoClosedForm(f"it is not known where {kind.__name__} is linear")
        return NEAR[kind]

    def set_linear(self, mean: Tensor, variance: Tensor, act: nn.Module | None = None) -> Tensor:
        """Set the norm so that an activation does almost nothing.

        Args:
            mean, variance: of the convolution's output, per channel.
            act: the activation that the norm's output enters; None: the unit's own.

        Returns:
            (c_out,): the change of the unit's output per change of the convolution's output.
        """
        scale, shift, slope = self.linear_range(act)
        return slope * self.set_spread(mean, variance, torch.full_like(mean, scale), torch.full_like(mean, shift))

    def set_spread(self, mean: Tensor, variance: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Set the norm so that its output has these spreads (standard deviations, with a sign) and means.

        Args:
            mean, variance: of the convolution's output, per channel.
            scale, shift: (c,).

        Returns:
            (c,): the change of the norm's output per change of the convolution's output.
        """
        variance = variance.clamp_min(LEAST_VARIANCE)
        self._set_norm(mean, variance, scale, shift)
        return scale / (variance + self.norm.eps).sqrt()

    def set_norm_of(self, old: Unit, intercept: Tensor, pick: Tensor) -> None:
        """Set the norm to that of an old unit, for a convolution whose output lacks a constant.

        Args:
            old: the unit that this one replaces.
            intercept: (channels of the old,), constant that the old convolution's output has in addition.
            pick: the old channel of each channel.
        """
        mean, *others = (tensor.detach().double().cpu() for tensor in old._norm_tensors())
        self._set_norm(*(tensor[pick] for tensor in (mean - intercept, *others)))

    def set_bias(self, bias: Tensor) -> None:
        """Make the norm only add a constant (c,)."""
        one = torch.ones_like(bias)
        self._set_norm(0 * one, (1 - self.norm.eps) * one, one, bias)

    def silence(self) -> None:
        """Make the unit's output 0; its scale can still learn."""
        with torch.no_grad():
            self.norm.weight.zero_()
            self.norm.bias.zero_()

    def pass_through(self, shift: float) -> None:
        """Make a depthwise convolution the identity, minus a constant."""
        kernel = torch.zeros_like(self.conv.weight)
        kernel[:, :, kernel.shape[2] // 2, kernel.shape[3] // 2] = 1
        self.set_kernel(kernel)
        self.set_bias(torch.full((len(kernel),), -shift, dtype=torch.float64))

    def _norm_tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Running mean and variance, weight and bias of the norm."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean, norm.running_var, norm.weight, norm.bias

    def _set_norm(self, *values: Tensor) -> None:
        """Set running mean and variance, weight and bias of the norm."""
        with torch.no_grad():
            for tensor, value in zip(self._norm_tensors(), values, strict=True):
                tensor.copy_(value)
