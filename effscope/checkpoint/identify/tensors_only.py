"""Tensors of an unknown architecture as a graph of unconnected nodes, to count parameters and to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
MOST_SHOWN = 4
TRANSPOSED = "ConvTranspose"
NOTE = "unknown architecture: only parameters and ranks of single convolutions"


def tensor_graph(
    state: Mapping[str, Tensor], modules: Sequence[ModuleRecord] = (), buffers: frozenset[str] | None = None
) -> Graph:
    """Nodes that own the tensors of a state dict: convolutions, linear layers, batch norms, and single tensors.

    A batch norm reads the convolution that it follows, if names and shapes tell which (`norm_order`), and stands after
    it. Folding needs this; nothing else is connected. Tied tensors share memory: they are one tensor of several nodes.

    Args:
        state: any state dict.
        modules: the module tree, if the file has one; it gives the groups and the epsilons.
        buffers: keys of the tensors that are no parameters; None if the file does not tell.
    """
    known = {record.path: record.scalars for record in modules}
    groups = _by_module(state)
    turned = _transposed(groups, modules)
    layer_of, conv_of = _Layers(list(state)), followed(_outputs_first(groups, turned))
    norm_of = {conv: norm for norm, conv in conv_of.items()}
    in_order = [one for path in groups if path not in conv_of for one in (path, norm_of.get(path)) if one is not None]
    nodes: list[Node] = []
    for path in in_order:
        by_shape = _groups_by_bias(groups[path]) or 1 if path in turned else _groups(path, groups)
        scalars = {"groups": by_shape, "turned": path in turned} | dict(known.get(path, {}))
        nodes.extend(_nodes(path, groups[path], scalars, layer_of(path), conv_of.get(path), buffers or frozenset()))
    first = _first_keys(state)
    nodes = [replace(node, params=tuple((role, first[key]) for role, key in node.params)) for node in nodes]
    return Graph(tuple(nodes), {}, tuple(dict.fromkeys(node.layer for node in nodes)))


def _transposed(groups: Mapping[str, Mapping[str, Tensor]], modules: Sequence[ModuleRecord]) -> frozenset[str]:
    """Paths of transposed convolutions, whose weights are (C_in, C_out / groups, k, k): by their class if the file has
    it, else if the bias fits only as theirs."""
    classes = {record.path: record.class_name.rpartition(".")[2] for record in modules}
    found = set()
    for path, roles in groups.items():
        weight = roles.get("weight")
        if weight is None or weight.dim() != MAPS:
            continue
        by_bias = "bias" in roles and len(roles["bias"]) != len(weight) and _groups_by_bias(roles) is not None
        if TRANSPOSED in classes[path] if path in classes else by_bias:
            found.add(path)
    return frozenset(found)


def _groups_by_bias(roles: Mapping[str, Tensor]) -> int | None:
    """Groups of a transposed convolution: its bias has C_out values, the second side of its weight C_out / groups. None
    without a bias, or if the sides do not fit."""
    weight, bias = roles["weight"], roles.get("bias")
    if bias is None or bias.dim() != 1 or not weight.shape[1]:
        return None
    groups, rest = divmod(len(bias), weight.shape[1])
    return groups if groups and not rest and len(weight) % groups == 0 else None


def _outputs_first(
    groups: Mapping[str, Mapping[str, Tensor]], turned: frozenset[str]
) -> Mapping[str, Mapping[str, Tensor]]:
    """The tensors, with the output channels of transposed convolutions first, as in other ones."""
    return {
        path: {**roles, "weight": roles["weight"].transpose(0, 1)} if path in turned else roles
        for path, roles in groups.items()
    }


def _first_keys(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Key -> the first key of the same tensor: the same numbers in memory, read in the same way."""
    seen: dict[object, str] = {}
    found = {}
    for key, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else key
        found[key] = seen.setdefault(place, key)
    return found


def tensor_outline(
    name: str, graph: Graph, modules: Sequence[ModuleRecord] = (), buffers: frozenset[str] | None = None
) -> Outline:
    """The layers of a tensor graph as rows, with their classes if the file has a module tree; arguments as in
    `tensor_graph`."""
    classes = {record.path: record.class_name.rpartition(".")[2] for record in modules}
    keys = "".join(f"{node.name}{sorted(node.args.items(), key=str)}" for node in graph.nodes)
    digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
    loose = sum(node.op == "batchnorm" and not node.inputs for node in graph.nodes)
    raw = (f"{loose} batch norms are not folded, the file does not tell what they follow: those ranks are raw",)
    rows = {p: (p or "(top)", classes.get(p, "")) for p in graph.layers}
    return Outline(name, rows, digest=digest, notes=(NOTE, *(raw if loose else ()), *_unsure(graph, buffers)))


def _unsure(graph: Graph, buffers: frozenset[str] | None) -> tuple[str, ...]:
    """Which tensors count as parameters without the file saying that they are."""
    if buffers is not None:
        return ()
    names = [node.name for node in graph.nodes if node.op == "opaque" and node.args["tensors"][""].kind == "param"]
    if not names:
        return ()
    shown = ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
    return (f"the file does not tell parameters from buffers: {len(names)} tensors count as parameters ({shown})",)


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
    path: str,
    roles: dict[str, Tensor],
    scalars: Mapping[str, object],
    layer: str,
    conv: str | None,
    buffers: frozenset[str],
) -> list[Node]:
    weight = None if f"{path}.weight" in buffers else roles.get("weight")
    if "running_mean" in roles and roles["running_mean"].dim() == 1:
        return [_norm(path, roles, scalars, layer, conv)]
    if weight is not None and weight.dim() == MAPS and not set(roles) - {"weight", "bias"}:
        return [_conv(path, roles, scalars, layer)]
    if weight is not None and weight.dim() == MATRIX and not set(roles) - {"weight", "bias"}:
        args = {"c_in": weight.shape[1], "c_out": weight.shape[0], "bias": "bias" in roles}
        return [Node(path, "linear", (), args, layer, _params(path, roles))]
    keys = {f"{path}.{role}" if path else role: tensor for role, tensor in roles.items()}
    return [_single(key, tensor, layer, key in buffers) for key, tensor in keys.items()]


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
    if scalars.get("turned") is True:
        args = {
            "c_in": c_out, "c_out": per_group * groups, "k": tuple(k), "s": (1, 1), "p": (0, 0), "op": (0, 0),
            "d": (1, 1), "groups": groups, "bias": "bias" in roles,
        }  # fmt: skip
        return Node(path, "conv_transpose2d", (), args, layer, _params(path, roles))
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


def _single(key: str, tensor: Tensor, layer: str, is_buffer: bool) -> Node:
    counted = tensor.is_floating_point() or tensor.is_complex()
    held = is_buffer or key.rpartition(".")[2] in NORM_BUFFERS or not counted
    kind = {"": ops.TensorSpec(tuple(tensor.shape), "buffer" if held else "param")}
    args = {"target": "", "operands": (), "keywords": {}, "shape": tuple(tensor.shape), "tensors": kind}
    return Node(key, "opaque", (), args, layer, (("", key),))
