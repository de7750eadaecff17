"""The primitives: what arguments each takes, the shape it gives, the tensors it owns. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from effscope.errors import EffscopeError, unknown
from effscope.spec.graph import Graph, Node

Shape = tuple[Any, ...]  # ints, or sympy symbols when a law is asked for its formula
Args = Mapping[str, Any]


@dataclass(frozen=True)
class Tensor:
    """A tensor owned by a node. `kind`: "param" is trained, "frozen" is counted but never trained, "buffer" neither."""

    shape: Shape
    kind: str = "param"


@dataclass(frozen=True)
class Op:
    """A primitive: its argument names, its shape rule and the tensors it owns (role -> Tensor)."""

    arguments: tuple[str, ...]
    shape: Callable[[Args, Sequence[Shape]], Any]
    tensors: Callable[[Args], dict[str, Tensor]] = lambda args: {}


def _same(args: Args, inputs: Sequence[Shape]) -> Shape:
    return inputs[0]


def window(size: Any, k: int, s: int, p: int, d: int = 1) -> Any:
    """Length of one side after a sliding window, as torch counts it."""
    length = (size + 2 * p - d * (k - 1) - 1) // s + 1
    if isinstance(length, int) and length < 1:
        raise EffscopeError(f"a kernel of {k} does not fit a side of {size} with padding {p}")
    return length


def _conv2d(args: Args, inputs: Sequence[Shape]) -> Shape:
    b, c, h, w = inputs[0]
    if c != args["c_in"]:
        raise EffscopeError(f"a convolution for {args['c_in']} channels was given {c}")
    k, s, p, d = args["k"], args["s"], args["p"], args["d"]
    return (b, args["c_out"], window(h, k[0], s[0], p[0], d[0]), window(w, k[1], s[1], p[1], d[1]))


def _conv2d_tensors(args: Args) -> dict[str, Tensor]:
    kind = "frozen" if args["init"] == "arange" else "param"
    tensors = {"weight": Tensor((args["c_out"], args["c_in"] // args["groups"], *args["k"]), kind)}
    if args["bias"]:
        tensors["bias"] = Tensor((args["c_out"],), kind)
    return tensors


def _batchnorm_tensors(args: Args) -> dict[str, Tensor]:
    shape = (args["c"],)
    return {
        "weight": Tensor(shape),
        "bias": Tensor(shape),
        "running_mean": Tensor(shape, "buffer"),
        "running_var": Tensor(shape, "buffer"),
        "num_batches_tracked": Tensor((), "buffer"),
    }


def _maxpool(args: Args, inputs: Sequence[Shape]) -> Shape:
    b, c, h, w = inputs[0]
    k, s, p = args["k"], args["s"], args["p"]
    return (b, c, window(h, k, s, p), window(w, k, s, p))


def _upsample(args: Args, inputs: Sequence[Shape]) -> Shape:
    b, c, h, w = inputs[0]
    return (b, c, h * args["scale"], w * args["scale"])


def _add(args: Args, inputs: Sequence[Shape]) -> Shape:
    if any(shape != inputs[0] for shape in inputs):
        raise EffscopeError(f"a sum of unequal shapes {', '.join(map(str, inputs))}")
    return inputs[0]


def _concat(args: Args, inputs: Sequence[Shape]) -> Shape:
    dim = args["dim"]
    first = inputs[0]
    for shape in inputs:
        if shape[:dim] != first[:dim] or shape[dim + 1 :] != first[dim + 1 :]:
            raise EffscopeError(f"a concatenation of shapes that differ: {', '.join(map(str, inputs))}")
    return (*first[:dim], sum(shape[dim] for shape in inputs), *first[dim + 1 :])


def _split(args: Args, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
    dim, shape = args["dim"], inputs[0]
    return tuple((*shape[:dim], size, *shape[dim + 1 :]) for size in args["sizes"])


def _item(args: Args, inputs: Sequence[Any]) -> Shape:
    return tuple(inputs[0][args["index"]])


def _flatten(args: Args, inputs: Sequence[Shape]) -> Shape:
    start, end, shape = args["start"], args["end"], inputs[0]
    return (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])


def _unflatten(args: Args, inputs: Sequence[Shape]) -> Shape:
    dim, shape = args["dim"], inputs[0]
    return (*shape[:dim], *args["sizes"], *shape[dim + 1 :])


def _transpose(args: Args, inputs: Sequence[Shape]) -> Shape:
    shape = list(inputs[0])
    a, b = args["dims"]
    shape[a], shape[b] = shape[b], shape[a]
    return tuple(shape)


OPS: dict[str, Op] = {
    "input": Op(("c",), lambda args, inputs: inputs[0]),
    "conv2d": Op(
        ("c_in", "c_out", "k", "s", "p", "d", "groups", "bias", "init", "bias_init"), _conv2d, _conv2d_tensors
    ),
    "batchnorm": Op(("c",), _same, _batchnorm_tensors),
    "silu": Op((), _same),
    "sigmoid": Op((), _same),
    "softmax": Op(("dim",), _same),
    "maxpool": Op(("k", "s", "p"), _maxpool),
    "upsample": Op(("scale", "mode"), _upsample),
    "add": Op((), _add),
    "concat": Op(("dim",), _concat),
    "split": Op(("dim", "sizes"), _split),
    "item": Op(("index",), _item),
    "flatten": Op(("start", "end"), _flatten),
    "unflatten": Op(("dim", "sizes"), _unflatten),
    "transpose": Op(("dims",), _transpose),
    "detach": Op((), _same),
    "dist2box": Op(("strides", "box_format"), _same),
}
"""Primitive name -> Op. LAWS (costing) and BUILDERS (nn) have the same keys."""


def owned(node: Node) -> dict[str, Tensor]:
    """Tensors of a node: state-dict key -> Tensor."""
    tensors = OPS[node.op].tensors(node.args)
    return {key: tensors[role] for role, key in node.params}


def shapes(graph: Graph, image: Shape) -> dict[str, Any]:
    """Output shape of every node for an input of shape (batch, channels, height, width).

    Raises:
        EffscopeError: a layer does not fit the one before it; the message names the node.
    """
    known: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op not in OPS:
            raise unknown("primitive", node.op, OPS)
        given = [image] if node.op == "input" else [known[name] for name in node.inputs]
        try:
            known[node.name] = OPS[node.op].shape(node.args, given)
        except EffscopeError as e:
            raise EffscopeError(f"{node.name} (layer {node.layer}): {e}") from None
    return known
