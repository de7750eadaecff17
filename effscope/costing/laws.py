"""What one primitive costs: numbers in, numbers out; sympy symbols in, formulas out.

Convention (DESIGN section 5): one multiply-add = one MAC = two FLOPs; dense; batch as given. What is not a MAC has
its own column and its own law: bias 1 per output element, batch norm 2 (its affine form at inference), activation 1
per element (SiLU counts its sigmoid and its product: 2), softmax 3, max pooling k*k - 1 comparisons per output,
sums 1 per addend after the first; copies (concat, split, nearest upsampling, reshapes) cost bytes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from effscope.spec.ops import OPS, Shape


@dataclass(frozen=True)
class Counts:
    """Exact integers (or formulas) of a node, a layer or a model. They add up.

    Attributes:
        macs: multiply-adds of convolutions and matrix products.
        conv_macs: the share of `macs` that is convolution, what the YOLO papers publish.
        bias, norm, act, pool, softmax, elementwise: operations of each kind that are not multiply-adds.
        elements_in, elements_out: values read and written.
    """

    macs: Any = 0
    conv_macs: Any = 0
    bias: Any = 0
    norm: Any = 0
    act: Any = 0
    pool: Any = 0
    softmax: Any = 0
    elementwise: Any = 0
    elements_in: Any = 0
    elements_out: Any = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def flops(self) -> Any:
        """2 * macs plus everything that is not a MAC."""
        return 2 * self.macs + self.bias + self.norm + self.act + self.pool + self.softmax + self.elementwise

    @property
    def conv_flops(self) -> Any:
        """2 * MACs of convolutions alone."""
        return 2 * self.conv_macs


Args = Mapping[str, Any]
Law = Callable[[Args, Sequence[Shape], Shape], dict[str, Any]]


def conv_params(c_in: Any, c_out: Any, k: tuple[Any, Any], groups: Any = 1, bias: bool = False) -> Any:
    """Weights of a convolution; with `bias` one more per output channel."""
    return c_in // groups * c_out * k[0] * k[1] + (c_out if bias else 0)


def _conv2d(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    weights = conv_params(args["c_in"], args["c_out"], args["k"], args["groups"])
    macs = weights * out[0] * out[2] * out[3]
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if args["bias"] else 0}


def _free(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {}


def _per_element(column: str, operations: int) -> Law:
    def law(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
        return {column: operations * math.prod(out)}

    return law


def _maxpool(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"pool": (args["k"] ** 2 - 1) * math.prod(out)}


def _add(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"elementwise": (len(inputs) - 1) * math.prod(out)}


LAWS: dict[str, Law] = {
    "input": _free,
    "conv2d": _conv2d,
    "batchnorm": _per_element("norm", 2),
    "silu": _per_element("act", 2),
    "sigmoid": _per_element("act", 1),
    "softmax": _per_element("softmax", 3),
    "maxpool": _maxpool,
    "upsample": _free,
    "add": _add,
    "concat": _free,
    "split": _free,
    "item": _free,
    "flatten": _free,
    "unflatten": _free,
    "transpose": _free,
    "detach": _free,
    "dist2box": _per_element("elementwise", 2),
}
"""Primitive name -> law. Same keys as OPS."""

VIEWS_ONLY = frozenset({"input", "split", "item", "flatten", "unflatten", "transpose", "detach"})
"""Primitives that move no data of their own: they only re-label what is there."""


def count(op: str, args: Args, inputs: Sequence[Shape], out: Shape) -> Counts:
    """Counts of one primitive call. Shapes are (batch, channels, height, width) or flattened forms of it."""
    moved = {}
    if op not in VIEWS_ONLY:
        moved = {"elements_in": sum(math.prod(s) for s in inputs), "elements_out": math.prod(out)}
    return Counts(**LAWS[op](args, inputs, out), **moved)


def params(op: str, args: Args) -> Any:
    """Parameters a primitive owns: trained and frozen ones, no buffers."""
    return sum(math.prod(t.shape) for t in OPS[op].tensors(args).values() if t.kind != "buffer")
