"""Ranks of a network's stages. A forward hook on each stage's last convolution takes its weight and its output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effscope.config import RankConfig, to_dict
from effscope.errors import EffscopeError
from effscope.expand import Stage, closing_conv, stages
from effscope.nn.build import Network
from effscope.nn.fuse import folded_conv
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


def _weight(network: Network, node: Node, batch_norms: dict[str, str]) -> Array:
    conv = network.get_submodule(node.module)
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight.detach().double()
    if node.module in batch_norms:
        bn = network.get_submodule(batch_norms[node.module])
        assert isinstance(bn, nn.BatchNorm2d)
        weight, _ = folded_conv(conv, bn)
    return np.asarray(weight.cpu().numpy())


def _batch_norms(graph: Graph) -> dict[str, str]:
    return {step.conv: step.bn for step in fold_bn(graph)[1] if isinstance(step, FoldBN)}


def take(
    network: Network, convs: list[Node], *, fold_bn: bool = True, images: Iterable[Tensor] | None = None
) -> dict[str, Taken]:
    """Weight, and with images the output covariance, of some convolutions of a network.

    The network is as it was afterwards (mode, hooks, buffers), also when its forward pass raises.

    Args:
        network: any built network.
        convs: conv2d nodes of its graph.
        fold_bn: take the weight with the batch norm behind it folded in.
        images: batches (B, 3, H, W), float 0-1; hooks accumulate the output of each convolution over them.

    Returns:
        Node name -> Taken.
    """
    batch_norms = _batch_norms(network.spec) if fold_bn else {}
    weights = {node.name: _weight(network, node, batch_norms) for node in convs}
    if images is None:
        return {name: Taken(weight) for name, weight in weights.items()}
    moments = {node.name: _Moments() for node in convs}
    was_training = {module: module.training for module in network.modules()}
    handles = [network.get_submodule(n.module).register_forward_hook(moments[n.name]) for n in convs]
    try:
        with torch.no_grad():
            for batch in images:
                network.eval()(batch)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training.items():
            module.training = training
    return {name: Taken(w, moments[name].covariance(), moments[name].n) for name, w in weights.items()}


@cache
def _null_ratio(shape: tuple[int, int], threshold: float) -> float:
    return spectrum.null_ratio(shape, threshold)


def _stage_rank(stage: Stage, node: Node, taken: Taken, threshold: float) -> StageRank:
    matrix = spectrum.as_matrix(taken.weight)
    shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
    if node.args["groups"] > 1:
        return StageRank(stage.number, node.name, shape, shape[0], None, None, None, None, None, (), False, DEPTHWISE)
    try:
        if taken.covariance is not None:
            values = spectrum.root_values(taken.covariance)
        else:
            values = spectrum.singular_values(matrix, threshold)
    except EffscopeError as e:
        raise EffscopeError(f"{node.name}: {e}") from None
    rank = spectrum.numerical_rank(values, threshold)
    return StageRank(
        stage=stage.number,
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
        config: where (closing conv of the stage, or last conv of its last block), threshold, folding.
        weights: "checkpoint" or "random", said in the result.
        source: one line on where the weights came from.
        of: what is ranked, said in the result: "weights", or which images.
        images: with them the rank is that of the outputs (channel covariance) instead of the weights.

    Raises:
        EffscopeError: a model without stages, weights that are not finite, a threshold outside 0-1.
    """
    if not 0 < config.threshold < 1:
        raise EffscopeError(f"--threshold must lie between 0 and 1, got {config.threshold}")
    found = stages(layout)
    if not found:
        raise EffscopeError(f"{layout.name} has no C2f-like stage to rank")
    nodes = [closing_conv(network.spec, stage, config.at) for stage in found]
    taken = take(network, nodes, fold_bn=config.fold_bn, images=images)
    rows = [
        _stage_rank(stage, node, taken[node.name], config.threshold) for stage, node in zip(found, nodes, strict=True)
    ]
    ordered = _ordered(rows)
    definition = {**to_dict(config), "weights": weights, "of": of}
    order = tuple(row.stage for row in ordered if row.ratio is not None)
    return RankResult(layout.name, source, definition, ordered, order, origin(to_dict(config), layout.digest()))
