"""Layers of a traced model that compute their weights (weight norm, views of a parameter): each as a layer that owns
the weight it computes. Norms that a module computes from frozen statistics: each as a batch norm.

Weights that depend on parameters only are computed once, by the traced operations themselves. Weights that depend on
the inputs have no value here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from effscope.costing.torch_laws import function_of
from effscope.errors import EffscopeError, first_line
from effscope.ranking.convs import TORCH_CONVS
from effscope.spec.graph import Graph, Node
from effscope.spec.ops import Slot, TensorSpec, shapes
from effscope.spec.shape_rules import Shape
from effscope.tracing.graph_builder import OUTPUTS
from effscope.tracing.importer import Imported
from effscope.tracing.rebuild import rebuild

OF_IMAGE = "weight made from the inputs: there is no fixed weight to rank"
BUFFER = "fixed weight: it is a buffer, which training does not change"
FAILED = "weight not computed: {}"
GROUPS = 6
"""Position of the groups in the arguments of torch's convolutions, transposed ones too."""


@dataclass(frozen=True)
class _Given:
    """A layer with a computed weight: its node, the node of the weight, groups, and the function if it is no primitive
    (1-d and 3-d convolutions)."""

    node: Node
    weight: str
    groups: int
    function: str


def with_own_weights(
    imported: Imported, state: Mapping[str, Tensor], image: Shape
) -> tuple[Graph, Mapping[str, Tensor]]:
    """The graph with layers that own the weights that they compute, and the state with these weights.

    The new layers have the name of the calling module. A layer without a fixed weight has the argument `no_rank`: why.

    Args:
        imported: the traced model.
        state: its state dict.
        image: shape of the image of the trace.
    """
    graph = _with_frozen_norms(imported, state)
    by_name = graph.by_name()
    found = [given for node in graph.nodes if (given := _given(node, by_name)) is not None]
    if not found:
        return graph, state
    sizes, reasons = shapes(graph, image), _without_value(graph, imported.inputs)
    values, failed = _values(imported, state, [given.weight for given in found if given.weight not in reasons])
    made: dict[str, Node] = {}
    known: dict[str, Tensor] = dict(state)
    names = _Names({node.name for node in graph.nodes})
    for given in found:
        weight = values.get(given.weight, torch.zeros(sizes[given.weight]))
        name, key = names.of(given.node, weight)
        known[key] = weight
        reason = "" if given.weight in values else reasons.get(given.weight, FAILED.format(failed))
        made[given.node.name] = _layer(given, name, key, weight, reason)
    renamed = {old: node.name for old, node in made.items()}
    nodes = [made.get(node.name, node) for node in graph.nodes]
    nodes = [replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)) for node in nodes]
    views = {view: tuple(renamed.get(name, name) for name in names) for view, names in graph.views.items()}
    return replace(graph, nodes=tuple(nodes), views=views), known


def _with_frozen_norms(imported: Imported, state: Mapping[str, Tensor]) -> Graph:
    """The graph with a batch norm in place of the product by which a module applies frozen statistics (torchvision's
    FrozenBatchNorm2d). Only the scale matters for ranks."""
    graph = imported.graph
    reasons, by_name = _without_value(graph, imported.inputs), graph.by_name()
    nodes = []
    for node in graph.nodes:
        path = node.module.rpartition(".")[0]
        keys = {role: f"{path}.{role}" for role in ("weight", "bias", "running_mean", "running_var")}
        if node.op != "mul" or keys["running_var"] not in state or path in by_name:
            nodes.append(node)
            continue
        of_image = [name for name in node.inputs if reasons.get(name) == OF_IMAGE]
        params = tuple((role, key) for role, key in keys.items() if key in state)
        affine = "weight" in dict(params) and "bias" in dict(params)
        eps = _added_to(keys["running_var"], graph)
        args = {"c": len(state[keys["running_var"]]), "eps": eps, "momentum": 0.0, "affine": affine}
        is_scaled = len(of_image) == 1
        nodes.append(Node(node.name, "batchnorm", tuple(of_image), args, node.layer, params) if is_scaled else node)
    return replace(graph, nodes=tuple(nodes))


def _added_to(key: str, graph: Graph) -> float:
    """The number that a trace adds to a tensor of this key, directly or behind views; 0 if there is none."""
    same = {key}
    for node in graph.nodes:
        if not same.intersection(node.inputs):
            continue
        operands = node.args.get("operands", ())
        if node.op in ("view", "copy"):
            same.add(node.name)
        elif str(node.args.get("target", "")).startswith("add") and len(operands) > 1:
            return float(operands[1]) if isinstance(operands[1], int | float) else 0.0
    return 0.0


def _given(node: Node, by_name: Mapping[str, Node]) -> _Given | None:
    """The node as a layer with a computed weight; None for any other node."""
    if node.op == "conv2d_given":
        return _Given(node, node.inputs[1], node.args["groups"], "")
    target = str(node.args.get("target", ""))
    operands: Sequence[Any] = node.args.get("operands", ())
    if function_of(target) in TORCH_CONVS and len(operands) > 1 and isinstance(operands[1], Slot):
        groups = operands[GROUPS] if len(operands) > GROUPS else node.args["keywords"].get("groups", 1)
        return _Given(node, node.inputs[operands[1].n], int(groups), function_of(target))
    if node.op == "matmul" and node.source is not None and function_of(node.source.target) == "linear":
        turned = by_name[node.inputs[1]]
        return _Given(node, turned.inputs[0], 1, "linear") if turned.op == "transpose" else None
    return None


def _without_value(graph: Graph, given: Collection[str]) -> dict[str, str]:
    """Names of the nodes whose values are no weights, and why: they depend on the inputs, or they are buffers."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "input" or node.name in given or any(found.get(name) == OF_IMAGE for name in node.inputs):
            found[node.name] = OF_IMAGE
        elif node.op == "constant":
            found[node.name] = BUFFER
    return found


def _values(imported: Imported, state: Mapping[str, Tensor], names: Sequence[str]) -> tuple[dict[str, Tensor], str]:
    """Values of nodes that depend on parameters only; or none, and the reason."""
    wanted = tuple(dict.fromkeys(names))
    if not wanted:
        return {}, ""
    kept = replace(imported.graph, views={OUTPUTS: wanted}).keep(OUTPUTS)
    alone = replace(kept, nodes=tuple(node for node in kept.nodes if node.op != "input"))
    try:
        with torch.no_grad():
            values = rebuild(replace(imported, graph=alone), state)()
    except EffscopeError:
        raise
    except Exception as e:  # operations of the trace raise all kinds of errors
        return {}, first_line(e)
    return dict(zip(wanted, values, strict=True)), ""


class _Names:
    """Names of the new layers, and the keys of their weights."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._weights: dict[str, Tensor] = {}
        self._calls: Counter[str] = Counter()

    def of(self, node: Node, weight: Tensor) -> tuple[str, str]:
        """The module that calls the layer; the name of the node if that is taken. Later calls with equal weights have
        the key of the first one."""
        path = node.module.rpartition(".")[0]
        if path in self._weights and torch.equal(self._weights[path], weight):
            self._calls[path] += 1
            return f"{path}@{self._calls[path]}", f"{path}.weight"
        name = path if path and path not in self._taken else node.name
        self._taken.add(name)
        self._weights[name] = weight
        return name, f"{name}.weight"


def _layer(given: _Given, name: str, key: str, weight: Tensor, no_rank: str) -> Node:
    """The layer with its weight under this key."""
    c_out, per_group, *k = weight.shape
    params = (("weight", key),)
    node, extra = given.node, {"no_rank": no_rank} if no_rank else {}
    args: dict[str, Any]
    if given.function == "linear":
        args = {"c_in": per_group, "c_out": c_out, "bias": False, **extra}
        return Node(name, "linear", node.inputs[:1], args, node.layer, params, node.source)
    if given.function:
        spec = {"weight": TensorSpec(tuple(weight.shape))}
        args = {**node.args, "keywords": {"groups": given.groups}, "tensors": spec, **extra}
        return Node(name, "opaque", node.inputs[:1], args, node.layer, params, node.source)
    args = {
        **node.args, "c_in": per_group * given.groups, "c_out": c_out, "k": tuple(k), "bias": False, "init": "default",
        "bias_init": None, **extra,
    }  # fmt: skip
    return Node(name, "conv2d", node.inputs[:1], args, node.layer, params, node.source)
