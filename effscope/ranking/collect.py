"""Collect what is ranked: weights of convolutions, or moments of their outputs over images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from effscope.nn.preserved import Hook, preserved
from effscope.ranking.convs import MAPS_OUT, RankedConv
from effscope.ranking.kernels import kernels
from effscope.ranking.moments import Moments
from effscope.ranking.spectrum import Kernel
from effscope.spec.graph import Graph


@dataclass(frozen=True)
class Collected:
    """Weights and outputs of some convolutions, by node name.

    Attributes:
        kernels: the weights, with or without the batch norm folded in.
        other_kernels: the same weights with the opposite folding.
        spatial_kernels: kernels of the full convolutions larger than 1x1, for `separability`.
        moments: moments of the outputs over the images; None without images.
    """

    kernels: Mapping[str, Kernel]
    other_kernels: Mapping[str, Kernel]
    spatial_kernels: Mapping[str, Kernel]
    moments: Mapping[str, Moments] | None = None


def collect(
    graph: Graph,
    state: Mapping[str, Tensor],
    convs: Sequence[RankedConv],
    *,
    fold_bn: bool = True,
    network: nn.Module | None = None,
    images: Iterable[Tensor] | None = None,
    more_hooks: Mapping[str, Hook] | None = None,
) -> Collected:
    """The weights of some convolutions, and with images the moments of their outputs.

    Restores the network afterwards (state, mode, hooks, random state), also if its forward pass raises.

    Args:
        graph: holds the convolutions.
        state: weights of the graph.
        convs: the convolutions.
        fold_bn: fold the following batch norm into the weight.
        network: runs the graph: a built network, or the module that it was imported from. Needed with images.
        images: batches (B, 3, H, W), float within 0-1.
        more_hooks: module path -> a further forward hook to run on the images.

    Raises:
        EffscopeError: weights that do not fit the graph, or a convolution that is not a module.
    """
    nodes = [conv.node for conv in convs]
    spatial = {node.name: node for conv in convs for node in conv.spatial}
    moments = None
    if images is not None:
        assert network is not None
        hooked = [conv.node for conv in convs if not conv.no_rank and conv.node.op in MAPS_OUT]
        moments = {node.name: Moments(node.name) for node in hooked}
        run_with_hooks(network, {**{node.module: moments[node.name] for node in hooked}, **(more_hooks or {})}, images)
    return Collected(
        kernels(graph, state, nodes, fold_bn=fold_bn),
        kernels(graph, state, nodes, fold_bn=not fold_bn),
        kernels(graph, state, list(spatial.values()), fold_bn=fold_bn),
        moments,
    )


def run_with_hooks(network: nn.Module, hooks: Mapping[str, Hook], images: Iterable[Tensor]) -> None:
    """Run a network on batches of images with forward hooks at module paths; restores the network afterwards."""
    with preserved(network, hooks):
        for batch in _converted(network, images):
            network(batch)


def _converted(network: nn.Module, images: Iterable[Tensor]) -> Iterator[Tensor]:
    """The batches on the device of the network and in its dtype."""
    first = next((p for p in network.parameters() if p.is_floating_point()), None)
    return (batch if first is None else batch.to(first.device, first.dtype) for batch in images)
