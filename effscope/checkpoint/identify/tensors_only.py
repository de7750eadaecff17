"""Tensors of an unknown architecture as a graph of unconnected nodes, to count parameters and to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import Tensor

from effscope.checkpoint.identify.norm_order import followed
from effscope.checkpoint.pickled.module_tree import ModuleRecord
from effscope.spec import ops
from effscope.spec.graph import Graph, Node
from effscope.spec.outline import Outline

NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
NORM_ROLES = ("weight", "bias", *NORM_BUFFERS)
MAPS, MATRIX, RGB = 4, 2, 3
UNKNOWN_EPS = 1e-5
NOTE = "unknown architecture: only parameters and ranks of single convolutions"


def tensor_graph(state: Mapping[str, Tensor], modules: Sequence[ModuleRecord] = ()) -> Graph:
    """Nodes that own the tensors of a state dict: convolutions, linear layers, batch norms, and single tensors.

    A batch norm reads the convolution that it follows, if names and shapes tell which (`norm_order`), and stands after
    it. Folding needs this; nothing else is connected.

    Args:
        state: any state dict.
        modules: the module tree, if the file has one; it gives the groups and the epsilons.
    """
    known = {record.path: record.scalars for record in modules}
    groups = _by_module(state)
    layer_of, conv_of = _Layers(list(state)), followed(groups)
    norm_of = {conv: norm for norm, conv in conv_of.items()}
    in_order = [one for path in groups if path not in conv_of for one in (path, norm_of.get(path)) if one is not None]
    nodes: list[Node] = []
    for path in in_order:
        scalars = {"groups": _groups(path, groups)} | dict(known.get(path, {}))
        nodes.extend(_nodes(path, groups[path], scalars, layer_of(path), conv_of.get(path)))
    return Graph(tuple(nodes), {}, tuple(dict.fromkeys(node.layer for node in nodes)))


def tensor_outline(name: str, graph: Graph, modules: Sequence[ModuleRecord] = ()) -> Outline:
    """The layers of a tensor graph as rows, with their classes if the file has a module tree."""
    classes = {record.path: record.class_name.rpartition(".")[2] for record in modules}
    keys = "".join(f"{node.name}{sorted(node.args.items(), key=str)}" for node in graph.nodes)
    digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
    loose = sum(node.op == "batchnorm" and not node.inputs for node in graph.nodes)
    raw = (f"{loose} batch norms are not folded, the file does not tell what they follow: those ranks are raw",)
    rows = {p: (p or "(top)", classes.get(p, "")) for p in graph.layers}
    return Outline(name, rows, digest=digest, notes=(NOTE, *(raw if loose else ())))


def _by_module(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, _, role = key.rpartition(".")
        groups.setdefault(path, {})[role] = tensor
    return groups


class _Layers:
    """Module path -> layer: the names that all keys share, the next name, and a number after that.

    With the keys `net.a.0.conv.weight` and `net.b.weight`, `net.a.0.conv` is in the layer `net.a.0`.
    """

    def __init__(self, keys: list[str]) -> None:
        self.n_shared = 0
        for names in zip(*(key.split(".")[:-1] for key in keys), strict=False):
            if len(set(names)) > 1:
                break
            self.n_shared += 1

    def __call__(self, path: str) -> str:
        names = path.split(".")
        end = self.n_shared + 1
        while end < len(names) and names[end].isdigit() and not names[end - 1].isdigit():
            end += 1
        return ".".join(names[:end])


def _nodes(
    path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str, conv: str | None
) -> list[Node]:
    weight = roles.get("weight")
    if "running_mean" in roles and roles["running_mean"].dim() == 1:
        return [_norm(path, roles, scalars, layer, conv)]
    if weight is not None and weight.dim() == MAPS and not set(roles) - {"weight", "bias"}:
        return [_conv(path, roles, scalars, layer)]
    if weight is not None and weight.dim() == MATRIX and not set(roles) - {"weight", "bias"}:
        args = {"c_in": weight.shape[1], "c_out": weight.shape[0], "bias": "bias" in roles}
        return [Node(path, "linear", (), args, layer, _params(path, roles))]
    return [_single(f"{path}.{role}" if path else role, tensor, layer) for role, tensor in roles.items()]


def _groups(path: str, groups: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Groups of a convolution by its shape: depthwise if a kernel has one input and another one makes so many channels.

    The first convolution of a net for grey images has one input, too, but there is none before it.
    """
    weight = groups[path].get("weight")
    if weight is None or weight.dim() != MAPS or weight.shape[1] != 1:
        return 1
    order, c_out = list(groups), weight.shape[0]
    before = [one for one in order[: order.index(path)] if _output_width(groups[one])]
    others = [one for one in order if one != path] if before and order == sorted(order) else before
    makes = any(_output_width(groups[one]) == c_out for one in others)
    return c_out if c_out > 1 and (makes or c_out == RGB) else 1


def _output_width(roles: Mapping[str, Tensor]) -> int | None:
    """Output width of a convolution; None for anything else."""
    weight = roles.get("weight")
    is_conv = weight is not None and "running_mean" not in roles and weight.dim() == MAPS
    return weight.shape[0] if is_conv and weight is not None else None


def _params(path: str, roles: Mapping[str, Tensor]) -> tuple[tuple[str, str], ...]:
    return tuple((role, f"{path}.{role}" if path else role) for role in roles)


def _conv(path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str) -> Node:
    c_out, per_group, *k = roles["weight"].shape
    groups = scalars.get("groups")
    groups = groups if isinstance(groups, int) and not isinstance(groups, bool) and groups > 0 else 1
    args = {
        "c_in": per_group * groups, "c_out": c_out, "k": tuple(k), "s": (1, 1), "p": (0, 0), "d": (1, 1),
        "groups": groups, "bias": "bias" in roles, "init": "default", "bias_init": None,
    }  # fmt: skip
    return Node(path, "conv2d", (), args, layer, _params(path, roles))


def _norm(path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str, conv: str | None) -> Node:
    c = len(roles["running_mean"])
    eps = scalars.get("eps", UNKNOWN_EPS)
    args = {"c": c, "eps": eps, "momentum": 0.1, "affine": "weight" in roles}
    kept = {role: tensor for role, tensor in roles.items() if role in NORM_ROLES}
    return Node(path, "batchnorm", () if conv is None else (conv,), args, layer, _params(path, kept))


def _single(key: str, tensor: Tensor, layer: str) -> Node:
    if key.rpartition(".")[2] in NORM_BUFFERS or not tensor.is_floating_point():
        kind = {"": ops.TensorSpec(tuple(tensor.shape), "buffer")}
    else:
        kind = {"": ops.TensorSpec(tuple(tensor.shape))}
    args = {"target": "", "operands": (), "keywords": {}, "shape": tuple(tensor.shape), "tensors": kind}
    return Node(key, "opaque", (), args, layer, (("", key),))
