"""Frozen layers: they keep their weights, for some epochs or for the whole training."""

from __future__ import annotations

from torch import nn

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network


def frozen_layers(epoch: int, config: TrainConfig) -> int:
    """Number of layers, counted from the input, that are frozen in an epoch.

    Args:
        epoch: counted from 0.
        config: `freeze` layers are frozen at first. Over `unfreeze_epochs` they unfreeze evenly, the deepest first.
    """
    if config.unfreeze_epochs == 0:
        return config.freeze
    left = max(config.unfreeze_epochs - epoch, 0)
    return -(-config.freeze * left // config.unfreeze_epochs)


def check_freeze(network: Network, config: TrainConfig) -> None:
    """Raises EffscopeError if no layer would train, or if `unfreeze_epochs` is given without `freeze`."""
    n = 1 + max(int(position) for position in network.model)
    if config.freeze >= n:
        raise EffscopeError(f"`freeze` {config.freeze}: the head must train, so give at most {n - 1} of {n} layers")
    if config.unfreeze_epochs and not config.freeze:
        raise EffscopeError("`unfreeze_epochs` needs frozen layers: give their number as `freeze`")


def freeze(network: Network, n: int, trainable: frozenset[str], fixed_norms: bool = False) -> None:
    """Freeze the first n layers and unfreeze the others. Frozen batch norms keep their statistics.

    Args:
        network: a network in training mode.
        n: layers to freeze.
        trainable: names of the parameters that train when their layer is not frozen.
        fixed_norms: all batch norms use and keep their running statistics; their weights and biases still train.
    """
    for position, layer in network.model.items():
        layer.train(int(position) >= n)
    for module in network.modules():
        if fixed_norms and isinstance(module, nn.BatchNorm2d):
            module.eval()
    for name, parameter in network.named_parameters():
        active = int(name.split(".")[1]) >= n
        parameter.requires_grad_(active and name in trainable)
        if not active:
            parameter.grad = None


def trainable_names(network: nn.Module) -> frozenset[str]:
    """Names of the parameters with `requires_grad`."""
    return frozenset(name for name, parameter in network.named_parameters() if parameter.requires_grad)
