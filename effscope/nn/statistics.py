"""Write a network's batch norms in the statistics of given images, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from effscope.nn.preserved import eval_mode, temporary_hooks

LEAST_VARIANCE = 1e-6
"""Variance of a channel that never varies."""


def recalibrate(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Set the running statistics of every batch norm to those of its inputs; weight and bias make up for it.

    In eval mode the network computes the same as before, up to rounding. In training mode it computes nearly the same
    too, because batches then have the statistics that the norms expect. Weights whose norms were folded have running
    statistics of 0 and 1; without this a training would begin by destroying them.

    Args:
        network: changed in place; norms that no batch reaches keep their values.
        batches: inputs of the network.
    """
    norms = [norm for norm in network.modules() if isinstance(norm, nn.BatchNorm2d) and norm.affine]
    sums: dict[nn.Module, Tensor] = {}
    with (
        torch.no_grad(),
        eval_mode(network),
        temporary_hooks(norm.register_forward_pre_hook(partial(_add, sums)) for norm in norms),
    ):
        for batch in batches:
            network(*batch)
        for norm in norms:
            if norm in sums:
                _rewrite(norm, *(sums[norm][1:] / sums[norm][0]))


def _add(sums: dict[nn.Module, Tensor], norm: nn.Module, given: tuple[Tensor, ...]) -> None:
    """A hook: number of values per channel, sums and sums of squares, (3, c) float64."""
    x = given[0].double().movedim(1, 0).flatten(1)
    found = torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(1), x.square().sum(1)])
    sums[norm] = sums[norm] + found if norm in sums else found


def _rewrite(norm: nn.BatchNorm2d, mean: Tensor, square: Tensor) -> None:
    """The same norm with another running mean, and the variance square - mean^2."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    variance = (square - mean**2).clamp_min(LEAST_VARIANCE)
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias.double() + gain * (mean - norm.running_mean.double()))
    norm.weight.copy_(gain * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
