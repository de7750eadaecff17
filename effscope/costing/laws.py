"""Cost of one primitive: numbers for numeric shapes, formulas for shapes with sympy symbols.

Convention (docs/cost.md): one multiply-add is one MAC and two FLOPs. Counts are dense and for the given batch.
Operations that are not MACs have their own columns. Per output value: bias 1, batch norm 2 (its affine form at
inference), layer norm 5, activation 1 (SiLU, GELU and hard swish 2: they include a product), softmax 3, pooling
k*k - 1, bilinear resampling 7, sums 1 for each operand after the first, products 1. A mean costs 1 per input value,
the scale of attention 1 per pair. Copies (concat, nearest upsampling) cost bytes only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from effscope.costing.einsum import pairwise
from effscope.costing.torch_laws import Law, law_of, sdpa
from effscope.spec.ops import OPS
from effscope.spec.shape_rules import Args, Shape


class Counts(NamedTuple):
    """Exact counts (integers or formulas) of a node, a layer or a model. `summed` adds them.

    Attributes:
        macs: multiply-adds of convolutions and matrix products.
        conv_macs: the part of `macs` in convolutions; the YOLO papers publish only these.
        bias, norm, act, pool, resample, softmax, elementwise: other operations, by kind.
        elements_in, elements_out: values read and written.
    """

    macs: Any = 0
    conv_macs: Any = 0
    bias: Any = 0
    norm: Any = 0
    act: Any = 0
    pool: Any = 0
    resample: Any = 0
    softmax: Any = 0
    elementwise: Any = 0
    elements_in: Any = 0
    elements_out: Any = 0

    @property
    def flops(self) -> Any:
        """2 * macs plus all other operations."""
        return 2 * self.macs + sum(self[2:-2])

    @property
    def conv_flops(self) -> Any:
        """2 * MACs of convolutions only."""
        return 2 * self.conv_macs


OTHER_KINDS = Counts._fields[2:-2]
"""Columns of operations that are not multiply-adds."""

NOTHING = Counts()


def summed(counts: Iterable[Counts]) -> Counts:
    """The sum of counts, column by column."""
    return Counts(*map(sum, zip(Counts(), *counts, strict=True)))


def conv_params(c_in: Any, c_out: Any, k: tuple[Any, Any], groups: Any = 1, bias: bool = False) -> Any:
    """Parameters of a convolution: its weights, and one bias per output channel if `bias`."""
    return c_in // groups * c_out * k[0] * k[1] + (c_out if bias else 0)


def _conv2d(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    weights = conv_params(args["c_in"], args["c_out"], args["k"], args["groups"])
    macs = weights * out[0] * out[2] * out[3]
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if args["bias"] else 0}


def _conv2d_given(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    macs = math.prod(inputs[1]) * out[0] * out[2] * out[3]
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if inputs[2:] else 0}


def _free(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {}


def _torch_function(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    law = law_of(args["target"])
    return law(args, inputs, out) if law else {}


def _per_element(column: str, operations: int) -> Law:
    def law(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
        return {column: operations * math.prod(out)}

    return law


def _conv_transpose2d(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    weights = conv_params(args["c_out"], args["c_in"], args["k"], args["groups"])
    macs = weights * inputs[0][0] * inputs[0][2] * inputs[0][3]
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if args["bias"] else 0}


def _linear(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"macs": args["c_in"] * math.prod(out), "bias": math.prod(out) if args["bias"] else 0}


def _matmul(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"macs": inputs[0][-1] * math.prod(out)}


def _einsum(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    given, result = args["equation"].split("->")
    return pairwise(given.split(","), result, inputs)


def _attention(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    q, k, v = inputs
    pairs = math.prod(q[:-2]) * q[-1] * k[-1]
    return {"macs": pairs * (q[-2] + v[-2]), "softmax": 3 * pairs, "elementwise": pairs}


def _mha(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    c, heads = args["c"], args["heads"]
    (b, n, _), (_, m, _) = inputs[0], inputs[1]
    tokens = 2 * b * (n + m)  # queries and outputs, keys and values
    pairs = b * n * m
    return {
        "macs": tokens * c * c + 2 * pairs * c,
        "bias": tokens * c,
        "softmax": 3 * heads * pairs,
        "elementwise": heads * pairs,
    }


def _pool(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"pool": (args["k"] ** 2 - 1) * math.prod(out)}


def _mean(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"pool": math.prod(inputs[0])}


def _add(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
    return {"elementwise": (len(inputs) - 1) * math.prod(out)}


UPSAMPLING = {"nearest": 0, "bilinear": 7}
"""Mode -> operations per output value. `nearest` copies, `bilinear` interpolates twice in rows and once in columns."""

LAWS: dict[str, Law] = {
    "input": _free,
    "conv2d": _conv2d,
    "conv2d_given": _conv2d_given,
    "parameter": _free,
    "conv_transpose2d": _conv_transpose2d,
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "attention": _attention,
    "sdpa": sdpa,
    "mha": _mha,
    "batchnorm": _per_element("norm", 2),
    "layernorm": _per_element("norm", 5),
    "groupnorm": _per_element("norm", 5),
    "silu": _per_element("act", 2),
    "sigmoid": _per_element("act", 1),
    "relu": _per_element("act", 1),
    "relu6": _per_element("act", 1),
    "leaky_relu": _per_element("act", 1),
    "hardsigmoid": _per_element("act", 1),
    "hardswish": _per_element("act", 2),
    "gelu": _per_element("act", 2),
    "tanh": _per_element("act", 1),
    "mish": _per_element("act", 3),
    "softmax": _per_element("softmax", 3),
    "maxpool": _pool,
    "avgpool": _pool,
    "adaptive_avgpool": _mean,
    "reduce": _mean,
    "pad": _free,
    "upsample": lambda args, inputs, out: {"resample": UPSAMPLING[args["mode"]] * math.prod(out)},
    "resize_as": lambda args, inputs, out: {"resample": UPSAMPLING[args["mode"]] * math.prod(out)},
    "space_to_depth": _free,
    "windows": _free,
    "unwindow": _free,
    "add": _add,
    "broadcast_add": _add,
    "mul": _per_element("elementwise", 1),
    "concat": _free,
    "split": _free,
    "item": _free,
    "flatten": _free,
    "unflatten": _free,
    "transpose": _free,
    "reshape_as": _free,
    "detach": _free,
    "dist2box": _per_element("elementwise", 2),
    "anchor2box": _per_element("elementwise", 4),
    "cell2box": _per_element("elementwise", 2),
    "posembed2d": _free,
    "constant": _free,
    "view": _free,
    "copy": _free,
    "elementwise": _per_element("elementwise", 1),
    "opaque": _torch_function,
}
"""Primitive -> law, with the keys of OPS. An `opaque` call without a law counts 0 and is listed as uncounted."""


def is_counted(op: str, args: Args) -> bool:
    """Whether the call has a law. Only an `opaque` torch function can lack one."""
    return op != "opaque" or law_of(args["target"]) is not None


ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""dtype of activations and weights -> bytes of one value."""

VIEWS_ONLY = frozenset(
    {
        "input",
        "parameter",
        "constant",
        "split",
        "item",
        "flatten",
        "unflatten",
        "transpose",
        "reshape_as",
        "detach",
        "view",
    }
)
"""Primitives that move no data: their output is a view of their input."""

READ = {"dist2box": 1, "anchor2box": 1, "cell2box": 1, "resize_as": 1, "unwindow": 1, "posembed2d": 0}
"""Primitive -> number of inputs with values that it reads. It uses only the shape of its other inputs."""


def elements(shape: Shape) -> Any:
    """Number of values of a tensor, or of several tensors if `shape` is a tuple of shapes."""
    several = bool(shape) and isinstance(shape[0], tuple)
    return sum(elements(part) for part in shape) if several else math.prod(shape)


def count(op: str, args: Args, inputs: Sequence[Shape], out: Shape) -> Counts:
    """Counts of one call of a primitive.

    Args:
        op: key of LAWS.
        args: arguments of the node.
        inputs: input shapes, (batch, channels, height, width) or a flattened form.
        out: output shape.
    """
    columns = LAWS[op](args, inputs, out)
    if op in VIEWS_ONLY:
        return Counts(**columns) if columns else NOTHING
    read = inputs[: READ[op]] if op in READ else inputs
    return Counts(elements_in=sum(map(elements, read)), elements_out=elements(out), **columns)


def params(op: str, args: Args) -> Any:
    """Parameters that a primitive owns, trained and frozen, without buffers."""
    return sum(math.prod(t.shape) for t in OPS[op].tensors(args).values() if t.kind != "buffer")
