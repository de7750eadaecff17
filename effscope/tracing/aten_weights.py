"""Readers of calls that own tensors: convolutions, linear layers, norms. `aten_map` has the table of all readers."""

from __future__ import annotations

import math
from typing import Any

from torch import fx

from effscope.tracing.calls import Call, Found, Primitive, view_of

MAP = 4
"""Number of dimensions of a batch of feature maps."""


def pair(value: Any, default: int | None = None) -> tuple[int, int]:
    """An argument for both sides of a map: a number counts for both, an empty list means the default."""
    values = [value] if isinstance(value, int) else list(value)
    if not values and default is not None:
        values = [default]
    return (values[0], values[-1])


def _padding(call: Call, k: tuple[int, int], d: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding as left, right, top, bottom. If 'same' needs an odd total, the end gets one more than the start."""
    given = call["padding"]
    if given == "same":
        h, w = (dd * (kk - 1) for kk, dd in zip(k, d, strict=True))
        return (w // 2, w - w // 2, h // 2, h - h // 2)
    h, w = (0, 0) if given == "valid" else pair(given)
    return (w, w, h, h)


def conv2d(call: Call) -> Found:
    """A 2D convolution; with a separate padding if the sides differ. Computed weights are inputs."""
    c_out, per_group, *k = call.shape("weight")
    kernel, d = pair(k), pair(call["dilation"])
    left, right, top, bottom = _padding(call, kernel, d)
    even = left == right and top == bottom
    p = (top, left) if even else (0, 0)
    before = () if even else (Primitive("pad", {"sides": (left, right, top, bottom), "value": 0.0}, (call["input"],)),)
    x = call["input"] if even else 0
    geometry = {"s": pair(call["stride"]), "p": p, "d": d, "groups": call["groups"]}
    if len(call.shape("input")) != MAP:
        return None
    owned = call.owned("weight", "bias")
    if owned is None:
        return (*before, Primitive("conv2d_given", geometry, (x, *_present(call, "weight", "bias"))))
    args = {
        "c_in": per_group * call["groups"], "c_out": c_out, "k": kernel, **geometry, "bias": "bias" in owned,
        "init": "default", "bias_init": None,
    }  # fmt: skip
    return (*before, Primitive("conv2d", args, (x,), owned))


def _present(call: Call, *names: str) -> tuple[fx.Node, ...]:
    return tuple(call[name] for name in names if call[name] is not None)


def conv1d(call: Call) -> Found:
    """A 1D convolution, as a 2D convolution of maps with one row."""
    if isinstance(call["padding"], str) or len(call.shape("input")) != MAP - 1:
        return None
    geometry = {
        name: (neutral, call[key][0])
        for name, key, neutral in (("s", "stride", 1), ("p", "padding", 0), ("d", "dilation", 1))
    }
    rows = (
        view_of("unsqueeze.default", call[name], (*call.shape(name)[:2], 1, call.shape(name)[2]), 2)
        for name in ("input", "weight")
    )
    conv = Primitive("conv2d_given", {**geometry, "groups": call["groups"]}, (0, 1, *_present(call, "bias")))
    return (*rows, conv, view_of("squeeze.dim", 2, call.out, 2))


def conv_transpose2d(call: Call) -> Found:
    """A transposed 2D convolution with its own weights."""
    owned = call.owned("weight", "bias")
    if owned is None or len(call.shape("input")) != MAP:
        return None
    c_in, per_group, *k = call.shape("weight")
    args = {
        "c_in": c_in, "c_out": per_group * call["groups"], "k": pair(k), "s": pair(call["stride"]),
        "p": pair(call["padding"]), "op": pair(call["output_padding"]), "d": pair(call["dilation"]),
        "groups": call["groups"], "bias": "bias" in owned,
    }  # fmt: skip
    return Primitive("conv_transpose2d", args, (call["input"],), owned)


def linear(call: Call) -> Found:
    """A linear layer. A computed weight or bias becomes an input of a separate product or sum."""
    c_out, c_in = call.shape("weight")
    owned, weight = call.owned("weight", "bias"), call.owned("weight")
    if owned is not None:
        return Primitive("linear", {"c_in": c_in, "c_out": c_out, "bias": "bias" in owned}, (call["input"],), owned)
    product: tuple[Primitive, ...]
    if weight is not None:
        product = (Primitive("linear", {"c_in": c_in, "c_out": c_out, "bias": False}, (call["input"],), weight),)
    elif len(call.shape("input")) == 1:
        return None
    else:
        transposed = Primitive("transpose", {"dims": (0, 1)}, (call["weight"],))
        product = (transposed, Primitive("matmul", {}, (call["input"], 0)))
    bias = call["bias"]
    return product if bias is None else (*product, Primitive("broadcast_add", {}, (len(product) - 1, bias)))


def batchnorm(call: Call) -> Found:
    """A batch norm in eval mode. Inputs without four dimensions are reshaped to maps and back."""
    owned = call.owned("weight", "bias", buffers=("running_mean", "running_var"))
    if (
        owned is None
        or "running_mean" not in owned
        or ("weight" in owned) != ("bias" in owned)
        or call.given.get("training")
    ):
        return None
    c = call.shape("running_mean")[0]
    args = {"c": c, "eps": call["eps"], "momentum": call["momentum"], "affine": "weight" in owned}
    shape = call.shape("input")
    if len(shape) == MAP:
        return Primitive("batchnorm", args, (call["input"],), owned)
    maps = (*shape[:2], math.prod(shape[2:]), 1)
    return (
        view_of("reshape.default", call["input"], maps, maps),
        Primitive("batchnorm", args, (0,), owned),
        view_of("reshape.default", 1, shape, shape),
    )


def layernorm(call: Call) -> Found:
    """A layer norm over the last dimension. A computed weight or bias becomes a separate product or sum."""
    if len(call["normalized_shape"]) != 1:
        return None
    args = {"c": call["normalized_shape"][0], "eps": call["eps"]}
    owned = call.owned("weight", "bias")
    if owned is not None and len(owned) == 1:
        return None
    if owned is not None:
        return Primitive("layernorm", {**args, "affine": bool(owned)}, (call["input"],), owned)
    plain = Primitive("layernorm", {**args, "affine": False}, (call["input"],))
    scaled = (plain,) if call["weight"] is None else (plain, Primitive("mul", {}, (0, call["weight"])))
    bias = call["bias"]
    return scaled if bias is None else (*scaled, Primitive("broadcast_add", {}, (len(scaled) - 1, bias)))


def groupnorm(call: Call) -> Found:
    """A group norm with its own weights, or without weights."""
    owned = call.owned("weight", "bias")
    if owned is None or len(owned) == 1:
        return None
    args = {"c": call.shape("input")[1], "groups": call["num_groups"], "eps": call["eps"], "affine": bool(owned)}
    return Primitive("groupnorm", args, (call["input"],), owned)
