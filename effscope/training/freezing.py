"""Layers that keep the weights they have, for a while or for good."""

from __future__ import annotations

from torch import nn

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network


def frozen_layers(epoch: int, config: TrainConfig) -> int:
    """How many layers, counted from the image, are frozen in an epoch.

    Args:
        epoch: counted from 0.
        config: `freeze` layers are frozen at first; over `unfreeze_epochs` they thaw evenly, the deepest first.
    """
    if config.unfreeze_epochs == 0:
        return config.freeze
    left = max(config.unfreeze_epochs - epoch, 0)
    return -(-config.freeze * left // config.unfreeze_epochs)


def check_freeze(network: Network, config: TrainConfig) -> None:
    """Raises EffscopeError when nothing would be left to train, or layers are to thaw that never froze."""
    n = 1 + max(int(position) for position in network.model)
    if config.freeze >= n:
        raise EffscopeError(f"--freeze {config.freeze}: the network has {n} layers and its head must train")
    if config.unfreeze_epochs and not config.freeze:
        raise EffscopeError("--unfreeze-epochs thaws the layers that --freeze froze: say how many those are")


def freeze(network: Network, n: int, trainable: frozenset[str]) -> None:
    """Freeze the first n layers, thaw the others. A frozen layer's batch norms keep their statistics.

    Args:
        network: in training mode.
        n: layers to freeze.
        trainable: names of the parameters that train when their layer does.
    """
    for position, layer in network.model.items():
        layer.train(int(position) >= n)
    for name, parameter in network.named_parameters():
        thawed = int(name.split(".")[1]) >= n
        parameter.requires_grad_(thawed and name in trainable)
        if not thawed:
            parameter.grad = None


def trainable_names(network: nn.Module) -> frozenset[str]:
    """Names of the parameters that take a gradient."""
    return frozenset(name for name, parameter in network.named_parameters() if parameter.requires_grad)
