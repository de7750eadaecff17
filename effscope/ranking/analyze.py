"""Ranks of a network's stages. A forward hook on each stage's last convolution takes its weight and its output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effscope.config import RankConfig, to_dict
from effscope.errors import EffscopeError
from effscope.expand import closing_conv, stages
from effscope.nn.build import Network
from effscope.nn.fuse import folded
from effscope.ranking import spectrum
from effscope.results import RankResult, StageRank, origin
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout
from effscope.spec.rewrite import FoldBN, fold_bn

Array = NDArray[np.float64]

DEPTHWISE = "depthwise: one filter per channel has no rank in this sense"


@dataclass(frozen=True)
class Taken:
    """What a hook took at one convolution.

    Attributes:
        weight: (C_out, C_in, k, k), float64, batch norm folded if asked for.
        covariance: (C_out, C_out) of the output's channels about their mean over all images and places, float64;
            None when no images were shown.
        places: how many vectors the covariance is made of.
    """

    weight: Array
    covariance: Array | None = None
    places: int = 0


@dataclass(frozen=True)
class Place:
    """A convolution that is ranked, and the number it is called by: that of its stage, or its own."""

    number: int
    conv: Node


class _Moments:
    """Streaming first and second moments of channel vectors; memory does not grow with the images."""

    def __init__(self) -> None:
        self.n, self.total, self.outer = 0, torch.zeros(0), torch.zeros(0)

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        vectors = out.detach().double().transpose(0, 1).flatten(1)  # (C, B*H*W)
        total, outer = vectors.sum(1), vectors @ vectors.T
        self.total, self.outer = (self.total + total, self.outer + outer) if self.n else (total, outer)
        self.n += vectors.shape[1]

    def covariance(self) -> Array:
        if not self.n:
            raise EffscopeError("no images were shown: activations cannot be ranked")
        mean = self.total / self.n
        return np.asarray((self.outer / self.n - torch.outer(mean, mean)).cpu().numpy())


def _weight(state: Mapping[str, Tensor], conv: Node, norm: Node | None) -> Array:
    try:
        tensors = {role: state[key] for role, key in conv.params}
        if norm is None:
            weight = tensors["weight"].detach().double()
        else:
            weight, _ = folded(
                tensors, {role: state[key] for role, key in norm.params if key in state}, norm.args["eps"]
            )
    except KeyError as e:
        raise EffscopeError(f"{conv.name}: the weights have no tensor {e}: they do not fit the architecture") from None
    return np.asarray(weight.cpu().numpy())


def _norms(graph: Graph) -> dict[str, Node]:
    """Name of a convolution -> the batch norm that folds into it."""
    steps = {step.conv: step.bn for step in fold_bn(graph)[1] if isinstance(step, FoldBN)}
    by_module = {node.module: node for node in graph.nodes}
    return {conv: by_module[bn] for conv, bn in steps.items()}


@contextmanager
def _hooked(module: nn.Module, hooks: Mapping[str, Callable[..., None]]) -> Iterator[None]:
    """The module in eval mode with forward hooks at some of its parts; afterwards it is as it was, whatever happens."""
    was_training = {part: part.training for part in module.modules()}
    try:
        parts = [(module.get_submodule(path), hook) for path, hook in hooks.items()]
    except AttributeError as e:
        raise EffscopeError(f"a convolution is no module of its own, so its output cannot be watched: {e}") from None
    handles = [part.register_forward_hook(hook) for part, hook in parts]
    module.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for part, training in was_training.items():
            part.training = training


def take(
    network: nn.Module,
    convs: Sequence[Node],
    *,
    graph: Graph | None = None,
    fold_bn: bool = True,
    images: Iterable[Tensor] | None = None,
) -> dict[str, Taken]:
    """Weight, and with images the output covariance, of some convolutions of a network.

    The network is as it was afterwards (mode, hooks, buffers), also when its forward pass raises.

    Args:
        network: a built network, or the module a graph was imported from.
        convs: conv2d nodes of its graph.
        graph: the graph; a built network knows its own.
        fold_bn: take the weight with the batch norm behind it folded in.
        images: batches (B, 3, H, W), float 0-1; hooks accumulate the output of each convolution over them.

    Returns:
        Node name -> Taken.
    """
    known = network.spec if graph is None and isinstance(network, Network) else graph
    assert known is not None
    weights = weights_of(known, network.state_dict(), convs, fold_bn=fold_bn)
    if images is None:
        return {name: Taken(weight) for name, weight in weights.items()}
    moments = {node.name: _Moments() for node in convs}
    with _hooked(network, {node.module: moments[node.name] for node in convs}), torch.no_grad():
        for batch in images:
            network(batch)
    return {name: Taken(w, moments[name].covariance(), moments[name].n) for name, w in weights.items()}


def weights_of(
    graph: Graph, state: Mapping[str, Tensor], convs: Sequence[Node], *, fold_bn: bool = True
) -> dict[str, Array]:
    """Node name -> weight (C_out, C_in / groups, k, k) in float64, the batch norm behind it folded in if asked for.

    Raises:
        EffscopeError: the state dict lacks a tensor.
    """
    norms = _norms(graph) if fold_bn else {}
    return {node.name: _weight(state, node, norms.get(node.module)) for node in convs}


@cache
def _null_ratio(shape: tuple[int, int], threshold: float) -> float:
    return spectrum.null_ratio(shape, threshold)


def _stage_rank(place: Place, taken: Taken, threshold: float) -> StageRank:
    node, number = place.conv, place.number
    matrix = spectrum.as_matrix(taken.weight)
    shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
    if node.args["groups"] > 1:
        return StageRank(number, node.name, shape, shape[0], None, None, None, None, None, (), False, DEPTHWISE)
    try:
        if taken.covariance is not None:
            values = spectrum.root_values(taken.covariance)
        else:
            values = spectrum.singular_values(matrix, threshold)
    except EffscopeError as e:
        raise EffscopeError(f"{node.name}: {e}") from None
    rank = spectrum.numerical_rank(values, threshold)
    return StageRank(
        stage=number,
        layer=node.name,
        shape=shape,
        c_out=shape[0],
        rank=rank,
        ratio=rank / shape[0],
        null_ratio=None if taken.covariance is not None else _null_ratio(shape, threshold),
        effective_rank=spectrum.effective_rank(values),
        stable_rank=spectrum.stable_rank(values),
        tie=(),
        threshold_tie=spectrum.is_tie(values, threshold) if values[0] > 0 else False,
    )


def _ordered(rows: list[StageRank]) -> tuple[StageRank, ...]:
    """Ascending by ratio, equal ratios by stage number, stages without a rank last; each row names its ties."""
    ratios = {row.stage: row.ratio for row in rows}

    def tied(row: StageRank) -> tuple[int, ...]:
        return tuple(k for k, ratio in ratios.items() if k != row.stage and ratio is not None and ratio == row.ratio)

    known = [StageRank(**{**vars(row), "tie": tied(row)}) for row in rows]
    return tuple(sorted(known, key=lambda r: (r.ratio is None, r.ratio or 0.0, r.stage)))


def every_conv(graph: Graph) -> tuple[Place, ...]:
    """All convolutions of a graph, numbered from 1 in forward order; the fixed one that reads distributions is none."""
    convs = [node for node in graph.nodes if node.op == "conv2d" and node.args["init"] != "arange"]
    distinct = {node.module: node for node in convs}
    return tuple(Place(n, node) for n, node in enumerate(distinct.values(), 1))


def layout_places(graph: Graph, layout: Layout, at: str) -> tuple[Place, ...]:
    """The convolutions a layout is ranked at: "stage", "block" or "all". Raises EffscopeError if there are none."""
    if at == "all":
        return every_conv(graph)
    found = stages(layout)
    if not found:
        raise EffscopeError(f"{layout.name} has no C2f-like stage to rank: rank every convolution with --at all")
    return tuple(Place(stage.number, closing_conv(graph, stage, at)) for stage in found)


def rank(
    network: Network,
    layout: Layout,
    config: RankConfig,
    *,
    weights: str = "checkpoint",
    source: str = "",
    of: str = "weights",
    images: Iterable[Tensor] | None = None,
) -> RankResult:
    """Numerical rank of every stage of a network, ascending.

    Args:
        network: built from the layout.
        layout: its stages are ranked.
        config: where (closing conv of the stage, last conv of its last block, or all), threshold, folding.
        weights: "checkpoint" or "random", said in the result.
        source: one line on where the weights came from.
        of: what is ranked, said in the result: "weights", or which images.
        images: with them the rank is that of the outputs (channel covariance) instead of the weights.

    Raises:
        EffscopeError: a model without stages, weights that are not finite, a threshold outside 0-1.
    """
    places = layout_places(network.spec, layout, config.at)
    taken = take(network, [p.conv for p in places], fold_bn=config.fold_bn, images=images)
    facts = Facts(layout.name, layout.digest(), weights, source, of)
    return rank_taken(places, taken, config, facts)


@dataclass(frozen=True)
class Facts:
    """What a result says of its model: name, hash, whether the weights are a "checkpoint" or "random", source line,
    and what of it was ranked."""

    model: str
    digest: str
    weights: str
    source: str = ""
    of: str = "weights"


def rank_taken(places: Sequence[Place], taken: Mapping[str, Taken], config: RankConfig, facts: Facts) -> RankResult:
    """Ranks of what was taken at some convolutions, ascending.

    Raises:
        EffscopeError: no convolution, values that are not finite, a threshold outside 0-1.
    """
    if not 0 < config.threshold < 1:
        raise EffscopeError(f"--threshold must lie between 0 and 1, got {config.threshold}")
    if not places:
        raise EffscopeError(f"{facts.model} has no convolution to rank")
    ordered = _ordered([_stage_rank(place, taken[place.conv.name], config.threshold) for place in places])
    definition = {**to_dict(config), "weights": facts.weights, "of": facts.of}
    order = tuple(row.stage for row in ordered if row.ratio is not None)
    return RankResult(facts.model, facts.source, definition, ordered, order, origin(to_dict(config), facts.digest))
