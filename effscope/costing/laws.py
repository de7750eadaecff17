"""What one primitive costs: numbers in, numbers out; sympy symbols in, formulas out.

Convention (docs/cost.md): one multiply-add = one MAC = two FLOPs; dense; batch as given. What is not a MAC has
its own column and its own law: bias 1 per output element, batch norm 2 (its affine form at inference), activation 1
per element (SiLU, GELU and hard swish count a product too: 2), layer norm 5, softmax 3, pooling k*k - 1 per output,
global mean 1 per input, bilinear resampling 7, products and sums 1 per operand after the first, attention 1 per pair
for its scale; copies (concat, split, nearest upsampling, reshapes) cost bytes only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from effscope.costing.torch_laws import law_of, pairwise, sdpa
from effscope.spec.ops import OPS
from effscope.spec.shape_rules import Shape


class Counts(NamedTuple):
    """Exact integers (or formulas) of a node, a layer or a model. They add up: `summed`.

    Attributes:
        macs: multiply-adds of convolutions and matrix products.
        conv_macs: the share of `macs` that is convolution, what the YOLO papers publish.
        bias, norm, act, pool, resample, softmax, elementwise: operations of each kind that are no multiply-adds.
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
        """2 * macs plus everything that is not a MAC."""
        return 2 * self.macs + sum(self[2:-2])

    @property
    def conv_flops(self) -> Any:
        """2 * MACs of convolutions alone."""
        return 2 * self.conv_macs


OTHER_KINDS = Counts._fields[2:-2]
"""Columns of operations that are no multiply-adds."""


NOTHING = Counts()


def summed(counts: Iterable[Counts]) -> Counts:
    """The sum of counts, column by column."""
    return Counts(*map(sum, zip(Counts(), *counts, strict=True)))


Args = Mapping[str, Any]
Law = Callable[[Args, Sequence[Shape], Shape], dict[str, Any]]


def conv_params(c_in: Any, c_out: Any, k: tuple[Any, Any], groups: Any = 1, bias: bool = False) -> Any:
    """Weights of a convolution; with `bias` one more per output channel."""
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


def _foreign(args: Args, inputs: Sequence[Shape], out: Shape) -> dict[str, Any]:
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
"""Operations per output value: a copy, or two horizontal and one vertical interpolation."""

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
    "opaque": _foreign,
}
"""Primitive name -> law. Same keys as OPS. An `opaque` function without a law is free here and listed as uncounted."""


def is_counted(op: str, args: Args) -> bool:
    """Whether there is a law for a call: there is none for functions of torch that neither table holds."""
    return op != "opaque" or law_of(args["target"]) is not None


ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
"""Type that values and weights are stored as -> bytes of one."""

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
"""Primitives that move no data of their own: they only re-label what is there."""


READ = {"dist2box": 1, "anchor2box": 1, "cell2box": 1, "resize_as": 1, "unwindow": 1, "posembed2d": 0}
"""Primitives that read the values of so many inputs only: of the others they need the sides."""


def elements(shape: Shape) -> Any:
    """Values of a tensor, or of several: the shape of what gives several is the tuple of their shapes."""
    several = bool(shape) and isinstance(shape[0], tuple)
    return sum(elements(part) for part in shape) if several else math.prod(shape)


def count(op: str, args: Args, inputs: Sequence[Shape], out: Shape) -> Counts:
    """Counts of one primitive call. Shapes are (batch, channels, height, width) or flattened forms of it."""
    columns = LAWS[op](args, inputs, out)
    if op in VIEWS_ONLY:
        return Counts(**columns) if columns else NOTHING
    read = inputs[: READ[op]] if op in READ else inputs
    return Counts(elements_in=sum(map(elements, read)), elements_out=elements(out), **columns)


def params(op: str, args: Args) -> Any:
    """Parameters a primitive owns: trained and frozen ones, no buffers."""
    return sum(math.prod(t.shape) for t in OPS[op].tensors(args).values() if t.kind != "buffer")
