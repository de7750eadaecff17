"""The table from the aten overloads of an exported program to effscope's primitives.

A reader takes a call (its torch arguments by name) and returns a primitive, several primitives, or None if no
primitive covers this form of the call. Then the graph keeps the torch call.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx

from effscope.tracing.aten_weights import (
    batchnorm,
    conv1d,
    conv2d,
    conv_transpose2d,
    groupnorm,
    layernorm,
    linear,
    pair,
)
from effscope.tracing.calls import Call, Found, Primitive

Reader = Callable[[Call], Found]


def _unary(op: str, name: str = "self") -> Reader:
    return lambda call: Primitive(op, {}, (call[name],))


def _gelu(call: Call) -> Found:
    return Primitive("gelu", {}, (call["self"],)) if call["approximate"] == "none" else None


BOUNDS = {(0, 6): "relu6", (0, None): "relu"}
"""Bounds of a clamp -> the activation it equals."""


def _bounded(low: str, high: str) -> Reader:
    def read(call: Call) -> Found:
        bounds = (call[low], call[high])
        return Primitive(BOUNDS[bounds], {}, (call["self"],)) if bounds in BOUNDS else None

    return read


def _pool(op: str) -> Reader:
    def read(call: Call) -> Found:
        k = pair(call["kernel_size"])
        s, p = pair(call["stride"], default=k[0]), pair(call["padding"])
        supported = pair(call.given.get("dilation", 1)) == (1, 1) and call.given.get("divisor_override") is None
        counted = call.given.get("count_include_pad", True) or p == (0, 0)
        if k[0] != k[1] or s[0] != s[1] or p[0] != p[1] or not supported or not counted:
            return None
        return Primitive(op, {"k": k[0], "s": s[0], "p": p[0], "ceil": bool(call["ceil_mode"])}, (call["self"],))

    return read


def _adaptive(call: Call) -> Found:
    size = tuple(call["output_size"])
    return Primitive("adaptive_avgpool", {"size": size}, (call["self"],)) if len(call.shape("self")) == 4 else None  # noqa: PLR2004


def _reduce(kind: str) -> Reader:
    def read(call: Call) -> Found:
        n, dims = len(call.shape("self")), call["dim"]
        if not dims:
            return None
        args = {"kind": kind, "dims": tuple(sorted(d % n for d in dims)), "keep": bool(call["keepdim"])}
        return Primitive("reduce", args, (call["self"],))

    return read


def _reduce_all(kind: str) -> Reader:
    def read(call: Call) -> Found:
        dims = tuple(range(len(call.shape("self"))))
        return Primitive("reduce", {"kind": kind, "dims": dims, "keep": False}, (call["self"],)) if dims else None

    return read


def _bilinear(call: Call) -> Found:
    (h, w), (h_out, w_out) = call.shape("input")[2:], call.out[2:]
    if h_out % h or w_out % w or h_out // h != w_out // w or call["align_corners"]:
        return None
    return Primitive("upsample", {"scale": h_out // h, "mode": "bilinear"}, (call["input"],))


def _einsum(call: Call) -> Found:
    equation, tensors = call["equation"].replace(" ", ""), call["tensors"]
    operands = equation.split("->")[0].split(",")
    no_diagonal = all(len(set(letters)) == len(letters) for letters in operands)
    supported = "->" in equation and "." not in equation and no_diagonal
    if not supported or len(tensors) != 2:  # noqa: PLR2004
        return None
    return Primitive("einsum", {"equation": equation}, tuple(tensors))


def _concat(call: Call) -> Primitive:
    n = len(call["tensors"][0].meta["val"].shape)
    return Primitive("concat", {"dim": call["dim"] % n}, tuple(call["tensors"]))


def _softmax(call: Call) -> Found:
    return Primitive("softmax", {"dim": call["dim"]}, (call["self"],)) if call["dtype"] is None else None


def _add(call: Call) -> Found:
    a, b = call["self"], call["other"]
    if not isinstance(a, fx.Node) or not isinstance(b, fx.Node) or call.given.get("alpha", 1) != 1:
        return None
    return Primitive("add" if call.shape("self") == call.shape("other") else "broadcast_add", {}, (a, b))


def _mul(call: Call) -> Found:
    a, b = call["self"], call["other"]
    return Primitive("mul", {}, (a, b)) if isinstance(a, fx.Node) and isinstance(b, fx.Node) else None


def _matmul(first: str, second: str) -> Reader:
    def read(call: Call) -> Found:
        if min(len(call.shape(first)), len(call.shape(second))) < 2:  # noqa: PLR2004
            return None
        return Primitive("matmul", {}, (call[first], call[second]))

    return read


def _add_product(first: str, second: str) -> Reader:
    def read(call: Call) -> Found:
        if (call["alpha"], call["beta"]) != (1, 1):
            return None
        return (
            Primitive("matmul", {}, (call[first], call[second])),
            Primitive("broadcast_add", {}, (0, call["self"])),
        )

    return read


def _sdpa(call: Call) -> Found:
    if call["dropout_p"]:
        return None
    mask = call["attn_mask"]
    inputs = (call["query"], call["key"], call["value"], *([mask] if mask is not None else []))
    return Primitive("sdpa", {"scale": call["scale"], "causal": bool(call["is_causal"])}, inputs)


def _leaky(call: Call) -> Primitive:
    return Primitive("leaky_relu", {"slope": call["negative_slope"]}, (call["self"],))


ATEN: dict[str, Reader] = {
    "conv2d.default": conv2d,
    "conv2d.padding": conv2d,
    "conv1d.default": conv1d,
    "conv_transpose2d.input": conv_transpose2d,
    "linear.default": linear,
    "batch_norm.default": batchnorm,
    "_native_batch_norm_legit_no_training.default": batchnorm,
    "layer_norm.default": layernorm,
    "group_norm.default": groupnorm,
    **{f"{name}{mark}.default": _unary(name) for name in (
        "relu", "relu6", "silu", "sigmoid", "hardswish", "hardsigmoid", "tanh", "mish"
    ) for mark in ("", "_")},
    "gelu.default": _gelu,
    "hardtanh.default": _bounded("min_val", "max_val"),
    "hardtanh_.default": _bounded("min_val", "max_val"),
    "clamp.default": _bounded("min", "max"),
    "clamp_.default": _bounded("min", "max"),
    "leaky_relu.default": _leaky,
    "leaky_relu_.default": _leaky,
    "softmax.int": _softmax,
    "max_pool2d.default": _pool("maxpool"),
    "avg_pool2d.default": _pool("avgpool"),
    "adaptive_avg_pool2d.default": _adaptive,
    "upsample_bilinear2d.vec": _bilinear,
    "mean.default": _reduce_all("mean"),
    "mean.dim": _reduce("mean"),
    "sum.dim_IntList": _reduce("sum"),
    "sum.default": _reduce_all("sum"),
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
    "addmm.default": _add_product("mat1", "mat2"),
    "baddbmm.default": _add_product("batch1", "batch2"),
    "scaled_dot_product_attention.default": _sdpa,
}  # fmt: skip
"""Overload -> its reader."""

FIRST_OUTPUT_ONLY = frozenset({"_native_batch_norm_legit_no_training.default"})
"""Overloads with several outputs; inference reads only the first."""
