"""Tensors of an unknown architecture as a graph of unconnected nodes, to count parameters and to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch import Tensor

from effscope.checkpoint.pickled.module_tree import ModuleRecord
from effscope.spec import ops
from effscope.spec.graph import Graph, Node
from effscope.spec.outline import Outline

NORM_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
NORM_ROLES = ("weight", "bias", *NORM_BUFFERS)
MAPS, MATRIX = 4, 2
UNKNOWN_EPS = 1e-5
NOTE = "unknown architecture: only parameters and ranks of single convolutions"


def tensor_graph(state: Mapping[str, Tensor], modules: Sequence[ModuleRecord] = ()) -> Graph:
    """Nodes that own the tensors of a state dict: convolutions, linear layers, batch norms, and single tensors.

    A batch norm reads the convolution before it in the file if both have the same width and are in the same module.
    Folding needs this; nothing else is connected.

    Args:
        state: any state dict.
        modules: the module tree, if the file has one; it gives the groups and the epsilons.
    """
    known = {record.path: record.scalars for record in modules}
    groups = _by_module(state)
    layer_of = _Layers(list(state))
    nodes: list[Node] = []
    for path, roles in groups.items():
        layer = layer_of(path)
        before = nodes[-1] if nodes else None
        nodes.extend(_nodes(path, roles, known.get(path, {}), layer, before))
    return Graph(tuple(nodes), {}, tuple(dict.fromkeys(node.layer for node in nodes)))


def tensor_outline(name: str, graph: Graph, modules: Sequence[ModuleRecord] = ()) -> Outline:
    """The layers of a tensor graph as rows, with their classes if the file has a module tree."""
    classes = {record.path: record.class_name.rpartition(".")[2] for record in modules}
    keys = "".join(f"{node.name}{sorted(node.args.items(), key=str)}" for node in graph.nodes)
    digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
    return Outline(name, {p: (p or "(top)", classes.get(p, "")) for p in graph.layers}, digest=digest, notes=(NOTE,))


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
    path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str, before: Node | None
) -> list[Node]:
    weight = roles.get("weight")
    if "running_mean" in roles:
        return [_norm(path, roles, scalars, layer, before)]
    if weight is not None and weight.dim() == MAPS and not set(roles) - {"weight", "bias"}:
        return [_conv(path, roles, scalars, layer)]
    if weight is not None and weight.dim() == MATRIX and not set(roles) - {"weight", "bias"}:
        args = {"c_in": weight.shape[1], "c_out": weight.shape[0], "bias": "bias" in roles}
        return [Node(path, "linear", (), args, layer, _params(path, roles))]
    return [_single(f"{path}.{role}" if path else role, tensor, layer) for role, tensor in roles.items()]


def _params(path: str, roles: Mapping[str, Tensor]) -> tuple[tuple[str, str], ...]:
    return tuple((role, f"{path}.{role}" if path else role) for role in roles)


def _conv(path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str) -> Node:
    c_out, per_group, *k = roles["weight"].shape
    groups = scalars.get("groups")
    if not isinstance(groups, int):
        groups = c_out if per_group == 1 and c_out > 1 else 1
    args = {
        "c_in": per_group * groups, "c_out": c_out, "k": tuple(k), "s": (1, 1), "p": (0, 0), "d": (1, 1),
        "groups": groups, "bias": "bias" in roles, "init": "default", "bias_init": None,
    }  # fmt: skip
    return Node(path, "conv2d", (), args, layer, _params(path, roles))


def _norm(path: str, roles: dict[str, Tensor], scalars: Mapping[str, object], layer: str, before: Node | None) -> Node:
    c = len(roles["running_mean"])
    eps = scalars.get("eps", UNKNOWN_EPS)
    args = {"c": c, "eps": eps, "momentum": 0.1, "affine": "weight" in roles}
    follows = before is not None and before.op == "conv2d" and before.args["c_out"] == c
    near = before is not None and before.name.rpartition(".")[0] == path.rpartition(".")[0]
    inputs = (before.name,) if before is not None and follows and near else ()
    kept = {role: tensor for role, tensor in roles.items() if role in NORM_ROLES}
    return Node(path, "batchnorm", inputs, args, layer, _params(path, kept))


def _single(key: str, tensor: Tensor, layer: str) -> Node:
    if key.rpartition(".")[2] in NORM_BUFFERS or not tensor.is_floating_point():
        kind = {"": ops.TensorSpec(tuple(tensor.shape), "buffer")}
    else:
        kind = {"": ops.TensorSpec(tuple(tensor.shape))}
    args = {"target": "", "operands": (), "keywords": {}, "shape": tuple(tensor.shape), "tensors": kind}
    return Node(key, "opaque", (), args, layer, (("", key),))
