"""Weights of a model's convolutions and linear layers, as kernels to rank."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from effscope.errors import EffscopeError
from effscope.nn.fuse import norm_scale
from effscope.ranking.convs import groups_of, is_ranked, is_transposed
from effscope.ranking.spectrum import Array, Kernel
from effscope.spec.graph import Graph, Node
from effscope.spec.ops import owned
from effscope.spec.rewrite import FoldBN, fold_bn

MAP = 4
"""Number of dimensions of a batch of 2-d maps."""


def kernels(
    graph: Graph, state: Mapping[str, Tensor], convs: Sequence[Node], *, fold_bn: bool = True
) -> dict[str, Kernel]:
    """Node name -> its kernel.

    Args:
        graph: holds the convolutions.
        state: weights of the graph.
        convs: the convolutions.
        fold_bn: include the scale of the following batch norm.

    Raises:
        EffscopeError: the state dict lacks a tensor, or a tensor has another shape than in the graph.
    """
    norms = _norms(graph) if fold_bn else {}
    return {node.name: _kernel(state, node, norms.get(node.module)) for node in convs}


def _norms(graph: Graph) -> dict[str, Node]:
    """Name of a convolution -> the batch norm that folds into it."""
    steps = {step.conv: step.bn for step in fold_bn(graph)[1] if isinstance(step, FoldBN)}
    by_module, by_name, readers = {node.module: node for node in graph.nodes}, graph.by_name(), graph.consumers()
    calls = Counter(node.module for node in graph.nodes)
    found = {conv: by_module[bn] for conv, bn in steps.items()}
    for norm in graph.nodes:
        conv = _before(norm, by_name, readers) if norm.op == "batchnorm" and norm.inputs else None
        if conv is not None and calls[conv.module] == calls[norm.module] == 1:
            found.setdefault(conv.module, norm)
    return found


def unfolded(graph: Graph) -> frozenset[str]:
    """Names of the convolutions that a batch norm reads without being folded in: one of the two is called several
    times, or the raw output is also used."""
    folded, by_name, readers = _norms(graph), graph.by_name(), graph.consumers()
    only = {name: [reader] for name, found in readers.items() for reader in found if by_name[reader].op == "batchnorm"}
    found = set()
    for norm in graph.nodes:
        conv = _before(norm, by_name, {**readers, **only}) if norm.op == "batchnorm" and norm.inputs else None
        if conv is not None and conv.module not in folded:
            found.add(conv.name)
    return frozenset(found)


def _before(norm: Node, by_name: Mapping[str, Node], readers: Mapping[str, list[str]]) -> Node | None:
    """The layer that a batch norm follows, if nothing but views that keep the channels lies between them and nothing
    else reads it: around a norm, vectors and 1-d and 3-d maps are views of 2-d maps."""
    name, reader, shape = norm.inputs[0], norm.name, ()
    while readers[name] == [reader]:
        node = by_name[name]
        if is_ranked(node):
            return node if node.op != "linear" or not shape or math.prod(shape[2:]) == 1 else None
        shape = node.args.get("shape", ())
        if node.op != "view" or len(shape) < MAP - 1 or shape[1] != norm.args["c"]:
            return None
        name, reader = node.inputs[0], name
    return None


def _kernel(state: Mapping[str, Tensor], conv: Node, norm: Node | None) -> Kernel:
    weight = _tensors(state, conv)["weight"]
    eps = torch.finfo(weight.dtype).eps if weight.is_floating_point() else torch.finfo(torch.float32).eps
    scale = None if norm is None else _array(norm_scale(_tensors(state, norm), norm.args["eps"]))
    plain = weight if weight.dtype in (torch.float16, torch.float32, torch.float64) else weight.float()
    groups = groups_of(conv)
    if is_transposed(conv):
        plain = _outputs_first(plain, groups)
    return Kernel(conv.name, _array(plain), scale, groups, eps)


def _outputs_first(weight: Tensor, groups: int) -> Tensor:
    """The weight of a transposed convolution, (C_in, C_out / groups, ...), as (C_out, C_in / groups, ...)."""
    c_in, per_group, *k = weight.shape
    return weight.reshape(groups, c_in // groups, per_group, *k).transpose(1, 2).reshape(-1, c_in // groups, *k)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())


def _tensors(state: Mapping[str, Tensor], node: Node) -> dict[str, Tensor]:
    """Role -> tensor of a node, without the batch counter of a norm."""
    shapes = owned(node)
    found = {}
    for role, key in node.params:
        if role == "num_batches_tracked":
            continue
        if key not in state:
            raise EffscopeError(f"{node.name}: the weights have no tensor '{key}': they do not fit the architecture")
        if tuple(state[key].shape) != tuple(shapes[key].shape):
            raise EffscopeError(
                f"{key} is {tuple(state[key].shape)}, the architecture has {tuple(shapes[key].shape)}: "
                "the weights do not fit it"
            )
        found[role] = state[key]
    return found
