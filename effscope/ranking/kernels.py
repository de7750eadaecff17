"""Weights of a model's convolutions, and the places a model is ranked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from effscope.errors import EffscopeError
from effscope.layouts.expand import Stage, closing_conv, stages
from effscope.nn.fuse import norm_scale
from effscope.ranking.spectrum import Array, Kernel
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout
from effscope.spec.ops import owned
from effscope.spec.rewrite import FoldBN, fold_bn


@dataclass(frozen=True)
class Place:
    """A convolution that is ranked.

    Attributes:
        number: of its stage; of itself where every convolution is ranked.
        conv: its node.
        spatial: the full convolutions larger than 1x1 it stands for: those of its stage, or itself.
        why: why there is nothing to rank at it, "" if there is.
    """

    number: int
    conv: Node
    spatial: tuple[Node, ...] = ()
    why: str = ""


def spatial(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The convolutions among some nodes that a depthwise-separable one could stand for: full and larger than 1x1."""
    wide = (n for n in nodes if n.op == "conv2d" and n.args["groups"] == 1 and tuple(n.args["k"]) != (1, 1))
    return tuple({n.params: n for n in wide}.values())


def every_conv(graph: Graph) -> tuple[Place, ...]:
    """All convolutions of a graph, numbered from 1 in forward order; the fixed one that reads distributions is none."""
    convs = [node for node in graph.nodes if node.op == "conv2d" and node.args["init"] != "arange"]
    distinct: dict[tuple[tuple[str, str], ...], Node] = {}
    for node in convs:
        distinct.setdefault(node.params, node)
    return tuple(Place(n, node, spatial([node])) for n, node in enumerate(distinct.values(), 1))


def layout_places(graph: Graph, layout: Layout, at: str) -> tuple[Place, ...]:
    """The convolutions a layout is ranked at: "stage", "block" or "all". Raises EffscopeError if there are none."""
    if at == "all":
        return every_conv(graph)
    found = stages(layout)
    if not found:
        raise EffscopeError(f"{layout.name} has no C2f-like stage to rank: rank every convolution with --at all")
    places = [_place(graph, stage, at) for stage in found]
    if all(place.why for place in places):
        raise EffscopeError(f"{layout.name} has no stage with inner blocks: rank it at stage, or every convolution")
    return tuple(places)


def _place(graph: Graph, stage: Stage, at: str) -> Place:
    try:
        conv = closing_conv(graph, stage, at)
    except EffscopeError:
        return Place(stage.number, closing_conv(graph, stage), why="no block: the stage has no inner blocks")
    return Place(stage.number, conv, spatial(graph.in_layer(stage.id) if at == "stage" else [conv]))


def kernels(
    graph: Graph, state: Mapping[str, Tensor], convs: Sequence[Node], *, fold_bn: bool = True
) -> dict[str, Kernel]:
    """Node name -> its kernel, with the scale of the batch norm behind it if asked for.

    Raises:
        EffscopeError: the state dict lacks a tensor, or one has another shape than the graph says.
    """
    norms = _norms(graph) if fold_bn else {}
    return {node.name: _kernel(state, node, norms.get(node.module)) for node in convs}


def _norms(graph: Graph) -> dict[str, Node]:
    """Name of a convolution -> the batch norm that folds into it."""
    steps = {step.conv: step.bn for step in fold_bn(graph)[1] if isinstance(step, FoldBN)}
    by_module = {node.module: node for node in graph.nodes}
    return {conv: by_module[bn] for conv, bn in steps.items()}


def _kernel(state: Mapping[str, Tensor], conv: Node, norm: Node | None) -> Kernel:
    weight = _tensors(state, conv)["weight"]
    eps = torch.finfo(weight.dtype).eps if weight.is_floating_point() else torch.finfo(torch.float32).eps
    scale = None if norm is None else _array(norm_scale(_tensors(state, norm), norm.args["eps"]))
    plain = weight if weight.dtype in (torch.float16, torch.float32, torch.float64) else weight.float()
    return Kernel(conv.name, _array(plain), scale, conv.args["groups"], eps)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())


def _tensors(state: Mapping[str, Tensor], node: Node) -> dict[str, Tensor]:
    """Role -> tensor of a node; running counts are not asked for."""
    shapes = owned(node)
    found = {}
    for role, key in node.params:
        if role == "num_batches_tracked":
            continue
        if key not in state:
            raise EffscopeError(f"{node.name}: the weights have no tensor '{key}': they do not fit the architecture")
        if tuple(state[key].shape) != tuple(shapes[key].shape):
            raise EffscopeError(
                f"{key} is {tuple(state[key].shape)}, the architecture says {tuple(shapes[key].shape)}: "
                "the weights do not fit it"
            )
        found[role] = state[key]
    return found
