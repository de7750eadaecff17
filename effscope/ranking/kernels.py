"""Weights of a model's convolutions, as kernels to rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from effscope.errors import EffscopeError
from effscope.nn.fuse import norm_scale
from effscope.ranking.spectrum import Array, Kernel
from effscope.spec.graph import Graph, Node
from effscope.spec.ops import owned
from effscope.spec.rewrite import FoldBN, fold_bn


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
    turned = {
        by_name[node.inputs[0]].module: node
        for node in graph.nodes
        if node.op == "batchnorm" and node.inputs and by_name[node.inputs[0]].op == "conv_transpose2d"
        and readers[node.inputs[0]] == [node.name]
    }  # fmt: skip
    return turned | {conv: by_module[bn] for conv, bn in steps.items()}


def _kernel(state: Mapping[str, Tensor], conv: Node, norm: Node | None) -> Kernel:
    weight = _tensors(state, conv)["weight"]
    eps = torch.finfo(weight.dtype).eps if weight.is_floating_point() else torch.finfo(torch.float32).eps
    scale = None if norm is None else _array(norm_scale(_tensors(state, norm), norm.args["eps"]))
    plain = weight if weight.dtype in (torch.float16, torch.float32, torch.float64) else weight.float()
    if conv.op == "conv_transpose2d":
        plain = _outputs_first(plain, conv.args["groups"])
    return Kernel(conv.name, _array(plain), scale, conv.args["groups"], eps)


def _outputs_first(weight: Tensor, groups: int) -> Tensor:
    """The weight of a transposed convolution, (C_in, C_out / groups, kh, kw), as (C_out, C_in / groups, kh, kw)."""
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
