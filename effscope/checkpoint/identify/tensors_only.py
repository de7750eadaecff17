"""Tensors of an unknown architecture as a graph of unconnected nodes, to count parameters and to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from effscope.checkpoint.identify.layer_kinds import (
    CLASSES,
    CONVS,
    MATRIX,
    NORM_BUFFERS,
    Kind,
    Roles,
    is_counted,
    kinds,
)
from effscope.checkpoint.identify.norm_order import followed
from effscope.checkpoint.layer_calls import COMPUTED
from effscope.checkpoint.pickled.module_tree import ModuleRecord
from effscope.errors import counted
from effscope.spec import ops
from effscope.spec.graph import Graph, Node
from effscope.spec.outline import Outline

NORM_ROLES = ("weight", "bias", *NORM_BUFFERS)
UNKNOWN_EPS = 1e-5
MOST_SHOWN = 4
PACKED = (torch.uint8, torch.int16, torch.int32)
"""Dtypes that tools use for several small weights in one number (4-bit formats, GPTQ)."""

MAPS = 4
PROJECTION = "proj_weight"
"""End of the names of the weights of `nn.MultiheadAttention`: `in_proj_weight`."""

BY_NAME = "norms are folded by names and order (bn1 into conv1): this file does not say which layer follows which"
BY_SHAPE = "groups and transposed convolutions are found by names and shapes: the file has tensors only"
RAW = "raw: the file does not tell whether a batch norm follows"
NOTE = "unknown architecture: only parameters and ranks of single layers, by the weights as stored"


def tensor_graph(
    state: Mapping[str, Tensor],
    modules: Sequence[ModuleRecord] = (),
    buffers: frozenset[str] | None = None,
    follows: Mapping[str, str] | None = None,
) -> Graph:
    """Nodes that own the tensors of a state dict: convolutions, linear layers, batch norms, and single tensors.

    A batch norm reads the convolution that it follows, if names and shapes tell which (`norm_order`), and stands after
    it. Folding needs this; nothing else is connected. Tied tensors share memory: they are one tensor of several nodes.
    A layer whose weight has no rank has the argument `no_rank`: why; one that a norm may follow has `note`; a norm
    without a known epsilon has `assumed`.

    Args:
        state: any state dict.
        modules: the module tree, if the file has one; it gives classes, groups and epsilons.
        buffers: keys of the tensors that are no parameters; None if the file does not tell.
        follows: path of a norm -> path of the convolution that it follows; None if the file does not tell.
    """
    known = {record.path: record.scalars for record in modules}
    groups = _by_module(state)
    is_sorted = list(state) == sorted(state)
    kind_of = kinds(groups, modules, buffers or frozenset(), is_sorted=is_sorted)
    turned = _outputs_first(groups, kind_of)
    layer_of, pairs = _Layers(list(state)), followed(turned, is_sorted=is_sorted) if follows is None else follows
    conv_of = {norm: conv for norm, conv in pairs.items() if _fit(norm, conv, turned, kind_of)}
    norm_of = {conv: norm for norm, conv in conv_of.items()}
    in_order = [one for path in groups if path not in conv_of for one in (path, norm_of.get(path)) if one is not None]
    norms = {path: len(groups[path]["running_mean"]) for path, kind in kind_of.items() if kind.name == "norm"}
    loose = {c for path, c in norms.items() if path not in conv_of}
    nodes: list[Node] = []
    for path in in_order:
        module, kind = _Module(path, groups[path], layer_of(path)), kind_of[path]
        if path in norms:
            nodes.extend(_norm(module, known.get(path, {}), conv_of.get(path), buffers or frozenset()))
            continue
        is_layer = kind.name in (*CONVS, "linear") and path not in norm_of
        is_raw = is_layer and len(turned[path]["weight"]) in loose and follows is None
        nodes.extend(_nodes(module, kind, buffers or frozenset(), RAW if is_raw else ""))
    first = _first_keys(state)
    nodes = [replace(node, params=tuple((role, first[key]) for role, key in node.params)) for node in nodes]
    return Graph(tuple(nodes), {}, tuple(dict.fromkeys(node.layer for node in nodes)))


def _fit(norm: str, layer: str, turned: Mapping[str, Roles], kind_of: Mapping[str, Kind]) -> bool:
    """Whether a norm has the output width of a layer that can be ranked."""
    if layer not in kind_of or norm not in kind_of or kind_of[layer].name not in (*CONVS, "linear"):
        return False
    return len(turned[layer]["weight"]) == len(turned[norm]["running_mean"])


def _outputs_first(groups: Mapping[str, Roles], kind_of: Mapping[str, Kind]) -> Mapping[str, Roles]:
    """The tensors, with weights of transposed convolutions in the shape of other ones, outputs first."""
    found = dict(groups)
    for path, kind in kind_of.items():
        if kind.name == "transposed":
            c_in, per_group, *k = groups[path]["weight"].shape
            turned = torch.empty((per_group * kind.groups, c_in // kind.groups, *k), device="meta")
            found[path] = {**groups[path], "weight": turned}
    return found


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
    raw = (f"not folded: {counted(loose, 'batch norm')}, the file does not tell what they follow: those ranks are raw",)
    rows = {p: (p or "(top)", classes.get(p, "")) for p in graph.layers}
    return Outline(name, rows, digest=digest, notes=(NOTE, *(raw if loose else ()), *_unsure(graph, buffers)))


def rank_notes(
    graph: Graph, modules: Sequence[ModuleRecord] = (), follows: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What the file does not tell about ranks; arguments as in `tensor_graph`."""
    folded = [node for node in graph.nodes if node.op == "batchnorm" and node.inputs]
    notes = [BY_NAME] if folded and follows is None else []
    layers = {node.module for node in graph.nodes}
    computed = [record.path for record in modules if record.scalars.get(COMPUTED) and record.path not in layers]
    if computed:
        notes.append(f"left out, because the model computes their weights as it runs: {_few(computed)}")
    ranked = {node.module for node in graph.nodes if node.op in ("conv2d", "conv_transpose2d", "linear")}
    classes = {record.class_name.rpartition(".")[2] for record in modules if record.path in ranked}
    own = sorted(classes - CLASSES.keys())
    if own:
        notes.append(f"layers of other classes than torch's are ranked by the weights as stored {_few(own)}")
    return (*notes, *(() if modules else (BY_SHAPE, *_maybe_tables(graph))))


def _unsure(graph: Graph, buffers: frozenset[str] | None) -> tuple[str, ...]:
    """Which tensors count, or do not, without the file saying what they are."""
    singles = [node for node in graph.nodes if node.op == "opaque" and "" in node.args["tensors"]]
    packed = [node.name for node in singles if node.args["keywords"].get("packed")]
    names = [node.name for node in singles if node.args["tensors"][""].kind == "param"] if buffers is None else []
    said = []
    if names:
        few = _few(names)
        of = counted(len(names), "tensor")
        said.append(f"the file does not tell parameters from buffers: {of} counted as parameters {few}")
    if packed:
        of = counted(len(packed), "integer tensor")
        said.append(f"not counted: {of} that may hold packed weights {_few(packed)}")
    return tuple(said)


def _maybe_tables(graph: Graph) -> tuple[str, ...]:
    """Which matrices count as linear layers without the file saying that they are."""
    names = [node.name for node in graph.nodes if node.op == "linear" and not node.args["bias"]]
    if not names:
        return ()
    return (f"the file does not tell linear layers without bias from tables (embeddings): {_few(names)}",)


def _few(names: Sequence[str]) -> str:
    return f"({', '.join(names[:MOST_SHOWN])}{', ...' if len(names) > MOST_SHOWN else ''})"


def _by_module(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, dot, role = key.rpartition(".")
        groups.setdefault(path if path.strip(".") else f"{path}{dot}", {})[role] = tensor
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


@dataclass(frozen=True)
class _Module:
    """A module: its path, its tensors by their names in it, and its layer."""

    path: str
    roles: Roles
    layer: str

    def key(self, role: str) -> str:
        return f"{self.path}.{role}" if self.path.strip(".") else f"{self.path}{role}"

    def params(self, roles: Iterable[str]) -> tuple[tuple[str, str], ...]:
        return tuple((role, self.key(role)) for role in roles)


def _nodes(module: _Module, kind: Kind, buffers: frozenset[str], note: str) -> list[Node]:
    """Nodes of a module that is no norm: its layer, if it is one, and its further tensors."""
    own = [role for role in module.roles if role in ("weight", "bias")] if kind.name != "single" else []
    found = [_layer(module, own, kind, note)] if own else []
    left = [role for role in module.roles if role not in own]
    for role in [role for role in left if role.endswith(PROJECTION) and module.roles[role].dim() == MATRIX]:
        bias = f"{role.removesuffix('_weight')}_bias"
        pair = {"weight": role, **({"bias": bias} if bias in left else {})}
        found.append(_projection(module, pair))
        left = [role for role in left if role not in pair.values()]
    singles = [_single(module.key(role), module.roles[role], module, module.key(role) in buffers) for role in left]
    return [*found, *singles]


def _projection(module: _Module, pair: Mapping[str, str]) -> Node:
    """A linear layer of `nn.MultiheadAttention`, whose tensors are named `in_proj_weight` and `in_proj_bias`."""
    c_out, c_in = module.roles[pair["weight"]].shape
    args = {"c_in": c_in, "c_out": c_out, "bias": "bias" in pair}
    name = module.key(pair["weight"].removesuffix("_weight"))
    return Node(name, "linear", (), args, module.layer, tuple((role, module.key(own)) for role, own in pair.items()))


def _layer(module: _Module, own: Sequence[str], kind: Kind, note: str) -> Node:
    """A convolution or linear layer."""
    weight, has_bias = module.roles["weight"], "bias" in own
    first, second, *k = weight.shape
    turned, n = kind.name == "transposed", len(k)
    c_in, c_out = (first, second * kind.groups) if turned else (second * kind.groups, first)
    args: dict[str, Any] = {"c_in": c_in, "c_out": c_out, "bias": has_bias}
    if kind.name == "linear":
        op = "linear"
    elif len(weight.shape) == MAPS:
        op = "conv_transpose2d" if turned else "conv2d"
        args |= {"k": tuple(k), "s": (1, 1), "p": (0, 0), "d": (1, 1), "groups": kind.groups}
        args |= {"op": (0, 0)} if turned else {"init": "default", "bias_init": None}
    else:
        op, target = "opaque", f"conv_transpose{n}d.input" if turned else f"conv{n}d.default"
        tensors = {role: ops.TensorSpec(tuple(module.roles[role].shape)) for role in own}
        args = {"target": target, "operands": (), "keywords": {"groups": kind.groups}, "shape": (), "tensors": tensors}
    args |= {"no_rank": kind.no_rank} if kind.no_rank else {}
    args |= {"note": note} if note else {}
    return Node(module.path, op, (), args, module.layer, module.params(own))


def _norm(module: _Module, scalars: Mapping[str, object], conv: str | None, buffers: frozenset[str]) -> list[Node]:
    """A batch norm, and its further tensors."""
    affine = "weight" in module.roles and "bias" in module.roles
    args = {"c": len(module.roles["running_mean"]), "eps": scalars.get("eps", UNKNOWN_EPS), "momentum": 0.1}
    args |= {"affine": affine} | ({} if "eps" in scalars else {"assumed": True})
    kept = [role for role in module.roles if role in (NORM_ROLES if affine else NORM_BUFFERS)]
    inputs = () if conv is None else (conv,)
    norm = Node(module.path, "batchnorm", inputs, args, module.layer, module.params(kept))
    left = [role for role in module.roles if role not in kept]
    return [
        norm,
        *(_single(module.key(role), module.roles[role], module, module.key(role) in buffers) for role in left),
    ]


def _single(key: str, tensor: Tensor, module: _Module, is_buffer: bool) -> Node:
    role = key.rpartition(".")[2]
    held = is_buffer or role in NORM_BUFFERS or not is_counted(tensor, is_weight=role == "weight")
    kind = {"": ops.TensorSpec(tuple(tensor.shape), "buffer" if held else "param")}
    is_packed = tensor.dtype in PACKED and tensor.dim() > 1 and not is_buffer and "weight" in role
    keywords = {"packed": True} if is_packed else {}
    args = {"target": "", "operands": (), "keywords": keywords, "shape": tuple(tensor.shape), "tensors": kind}
    return Node(key, "opaque", (), args, module.layer, (("", key),))
