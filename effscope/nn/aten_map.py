"""What each operation of an exported torch program is here: one line an overload.

A reader gets a call (its torch arguments by name) and gives a primitive with its arguments and inputs, or None if this
call is of a form the primitive does not have: then the call stays what it is, uncounted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Primitive:
    """A primitive with its arguments, the nodes it reads, and the parameters it owns (role -> placeholder node)."""

    op: str
    args: dict[str, Any]
    inputs: tuple[fx.Node, ...]
    owned: dict[str, fx.Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A call of an exported program.

    Attributes:
        target: overload by name, e.g. "conv2d.default".
        given: arguments by name; those left out have the schema's default.
        parameters: placeholder nodes that are parameters or buffers of the module.
    """

    target: str
    given: dict[str, Any]
    parameters: frozenset[fx.Node]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def shape(self, name: str) -> Shape:
        """Shape of a tensor argument."""
        return tuple(int(n) for n in self.given[name].meta["val"].shape)

    def owned(self, **roles: str) -> dict[str, fx.Node] | None:
        """Role -> placeholder, of arguments that are parameters; None if one is computed instead."""
        found = {role: self.given[name] for role, name in roles.items() if self.given.get(name) is not None}
        return found if all(node in self.parameters for node in found.values()) else None


Reader = Callable[[Call], Primitive | None]


def _pair(value: Any, default: int | None = None) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    if not values and default is not None:
        values = [default]
    return (values[0], values[-1])


def _padding(call: Call, k: tuple[int, int], d: tuple[int, int]) -> tuple[int, int] | None:
    """Padding in numbers; None for the odd one of 'same' that is larger on one side."""
    given = call["padding"]
    if given == "valid":
        return (0, 0)
    if given == "same":
        whole = [dd * (kk - 1) for kk, dd in zip(k, d, strict=True)]
        return None if any(n % 2 for n in whole) else (whole[0] // 2, whole[1] // 2)
    return _pair(given)


def _conv2d(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias")
    if owned is None:
        return None
    c_out, per_group, *k = call.shape("weight")
    kernel, d = _pair(k), _pair(call["dilation"])
    p = _padding(call, kernel, d)
    if p is None:
        return None
    args = {
        "c_in": per_group * call["groups"], "c_out": c_out, "k": kernel, "s": _pair(call["stride"]), "p": p, "d": d,
        "groups": call["groups"], "bias": "bias" in owned, "init": "default", "bias_init": None,
    }  # fmt: skip
    return Primitive("conv2d", args, (call["input"],), owned)


def _conv_transpose2d(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias")
    if owned is None:
        return None
    c_in, per_group, *k = call.shape("weight")
    args = {
        "c_in": c_in, "c_out": per_group * call["groups"], "k": _pair(k), "s": _pair(call["stride"]),
        "p": _pair(call["padding"]), "op": _pair(call["output_padding"]), "d": _pair(call["dilation"]),
        "groups": call["groups"], "bias": "bias" in owned,
    }  # fmt: skip
    return Primitive("conv_transpose2d", args, (call["input"],), owned)


def _linear(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias")
    if owned is None:
        return None
    c_out, c_in = call.shape("weight")
    return Primitive("linear", {"c_in": c_in, "c_out": c_out, "bias": "bias" in owned}, (call["input"],), owned)


def _batchnorm(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias", running_mean="running_mean", running_var="running_var")
    if owned is None or "running_mean" not in owned or len(call.shape("input")) != 4:  # noqa: PLR2004
        return None
    args = {
        "c": call.shape("running_mean")[0],
        "eps": call["eps"],
        "momentum": call["momentum"],
        "affine": "weight" in owned,
    }
    return Primitive("batchnorm", args, (call["input"],), owned)


def _layernorm(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias")
    if owned is None or len(call["normalized_shape"]) != 1 or len(owned) == 1:
        return None
    args = {"c": call["normalized_shape"][0], "eps": call["eps"], "affine": bool(owned)}
    return Primitive("layernorm", args, (call["input"],), owned)


def _groupnorm(call: Call) -> Primitive | None:
    owned = call.owned(weight="weight", bias="bias")
    if owned is None or len(owned) == 1:
        return None
    args = {"c": call.shape("input")[1], "groups": call["num_groups"], "eps": call["eps"], "affine": bool(owned)}
    return Primitive("groupnorm", args, (call["input"],), owned)


def _same(op: str, name: str = "self") -> Reader:
    return lambda call: Primitive(op, {}, (call[name],))


def _gelu(call: Call) -> Primitive | None:
    return Primitive("gelu", {}, (call["self"],)) if call["approximate"] == "none" else None


def _hardtanh(call: Call) -> Primitive | None:
    return Primitive("relu6", {}, (call["self"],)) if (call["min_val"], call["max_val"]) == (0, 6) else None


def _pool(op: str) -> Reader:
    def read(call: Call) -> Primitive | None:
        k = _pair(call["kernel_size"])
        s, p = _pair(call["stride"], default=k[0]), _pair(call["padding"])
        plain = _pair(call.given.get("dilation", 1)) == (1, 1) and call.given.get("divisor_override") is None
        counted = call.given.get("count_include_pad", True) or p == (0, 0)
        if k[0] != k[1] or s[0] != s[1] or p[0] != p[1] or not plain or not counted:
            return None
        return Primitive(op, {"k": k[0], "s": s[0], "p": p[0], "ceil": bool(call["ceil_mode"])}, (call["self"],))

    return read


def _adaptive(call: Call) -> Primitive | None:
    size = tuple(call["output_size"])
    return Primitive("adaptive_avgpool", {"size": size}, (call["self"],)) if len(call.shape("self")) == 4 else None  # noqa: PLR2004


def _reduce(kind: str) -> Reader:
    def read(call: Call) -> Primitive | None:
        n, dims = len(call.shape("self")), call["dim"]
        if not dims:
            return None
        args = {"kind": kind, "dims": tuple(sorted(d % n for d in dims)), "keep": bool(call["keepdim"])}
        return Primitive("reduce", args, (call["self"],))

    return read


def _einsum(call: Call) -> Primitive | None:
    equation, tensors = call["equation"].replace(" ", ""), call["tensors"]
    given = equation.split("->")[0].split(",")
    plain = "->" in equation and "." not in equation and all(len(set(letters)) == len(letters) for letters in given)
    if not plain or len(tensors) != 2:  # noqa: PLR2004
        return None
    return Primitive("einsum", {"equation": equation}, tuple(tensors))


def _concat(call: Call) -> Primitive:
    n = len(call["tensors"][0].meta["val"].shape)
    return Primitive("concat", {"dim": call["dim"] % n}, tuple(call["tensors"]))


def _softmax(call: Call) -> Primitive | None:
    return Primitive("softmax", {"dim": call["dim"]}, (call["self"],)) if call["dtype"] is None else None


def _add(call: Call) -> Primitive | None:
    a, b = call["self"], call["other"]
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or call.given.get("alpha", 1) != 1:
        return None
    return Primitive("add" if call.shape("self") == call.shape("other") else "broadcast_add", {}, (a, b))


def _mul(call: Call) -> Primitive | None:
    a, b = call["self"], call["other"]
    return Primitive("mul", {}, (a, b)) if isinstance(a, fx.Node) and isinstance(b, fx.Node) else None


def _matmul(first: str, second: str) -> Reader:
    def read(call: Call) -> Primitive | None:
        if min(len(call.shape(first)), len(call.shape(second))) < 2:  # noqa: PLR2004
            return None
        return Primitive("matmul", {}, (call[first], call[second]))

    return read


def _sdpa(call: Call) -> Primitive | None:
    if call["dropout_p"]:
        return None
    mask = call["attn_mask"]
    inputs = (call["query"], call["key"], call["value"], *([mask] if mask is not None else []))
    return Primitive("sdpa", {"scale": call["scale"], "causal": bool(call["is_causal"])}, inputs)


def _leaky(call: Call) -> Primitive:
    return Primitive("leaky_relu", {"slope": call["negative_slope"]}, (call["self"],))


ATEN: dict[str, Reader] = {
    "conv2d.default": _conv2d,
    "conv2d.padding": _conv2d,
    "conv_transpose2d.input": _conv_transpose2d,
    "linear.default": _linear,
    "batch_norm.default": _batchnorm,
    "layer_norm.default": _layernorm,
    "group_norm.default": _groupnorm,
    **{f"{name}{mark}.default": _same(name) for name in (
        "relu", "relu6", "silu", "sigmoid", "hardswish", "hardsigmoid", "tanh", "mish"
    ) for mark in ("", "_")},
    "gelu.default": _gelu,
    "hardtanh.default": _hardtanh,
    "hardtanh_.default": _hardtanh,
    "leaky_relu.default": _leaky,
    "leaky_relu_.default": _leaky,
    "softmax.int": _softmax,
    "max_pool2d.default": _pool("maxpool"),
    "avg_pool2d.default": _pool("avgpool"),
    "adaptive_avg_pool2d.default": _adaptive,
    "mean.dim": _reduce("mean"),
    "sum.dim_IntList": _reduce("sum"),
    "amax.default": _reduce("amax"),
    "einsum.default": _einsum,
    "cat.default": _concat,
    "add.Tensor": _add,
    "add_.Tensor": _add,
    "mul.Tensor": _mul,
    "mul_.Tensor": _mul,
    "matmul.default": _matmul("self", "other"),
    "bmm.default": _matmul("self", "mat2"),
    "mm.default": _matmul("self", "mat2"),
    "scaled_dot_product_attention.default": _sdpa,
}  # fmt: skip
"""Overload -> how it becomes a primitive."""

_VIEWS = """
view reshape _unsafe_view permute transpose t flatten unflatten unsqueeze squeeze expand expand_as slice select
narrow contiguous clone detach detach_ alias lift_fresh_copy to _to_copy unbind chunk split split_with_sizes dropout
dropout_ feature_dropout alpha_dropout stack roll repeat repeat_interleave flip pad constant_pad_nd zeros zeros_like
ones ones_like full full_like empty arange index index_select gather pixel_shuffle pixel_unshuffle channel_shuffle
movedim swapaxes numpy_T type_as meshgrid new_zeros new_ones scalar_tensor upsample_nearest2d tensor_split
native_channel_shuffle unfold identity copy_ copy fill fill_
"""
VIEWS = frozenset(_VIEWS.split())
"""Functions that re-label, copy or make constants: they cost bytes, no operations."""

_ELEMENTWISE = """
add add_ sub sub_ rsub mul mul_ div div_ pow neg abs exp log sqrt rsqrt reciprocal square clamp clamp_ clamp_min
clamp_max maximum minimum where masked_fill masked_fill_ floor ceil round sign erf sin cos eq ne lt le gt ge
logical_not logical_and logical_or bitwise_not softplus elu elu_ selu celu hardtanh hardtanh_ prelu gelu log1p expm1
remainder fmod floor_divide lerp addcmul addcdiv tril triu
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
"""Functions of one operation per output value (the convention of results: everything that is not a multiply-add)."""


def called(node: fx.Node, parameters: frozenset[fx.Node]) -> Call:
    """A call_function node of an exported program with its arguments by name."""
    overload: Any = node.target
    schema = overload._schema.arguments
    given = {a.name: a.default_value for a in schema if a.has_default_value()}
    given |= dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    return Call(target_name(overload), given, parameters)


def target_name(target: Any) -> str:
    """`conv2d.default` of torch.ops.aten.conv2d.default; other namespaces are kept in front."""
    name = str(target)
    return (
        name.removeprefix("aten.") if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", name)
    )
