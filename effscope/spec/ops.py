"""The primitives: their arguments, output shapes and tensors. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from effscope.errors import EffscopeError, LayerError, unknown
from effscope.spec import shape_rules as rules
from effscope.spec.graph import Graph, Node
from effscope.spec.shape_rules import Args, Shape


class TensorSpec(NamedTuple):
    """A tensor of a node. `kind`: "param" is trained; "frozen" is counted but not trained; "buffer" is neither."""

    shape: Shape
    kind: str = "param"


@dataclass(frozen=True)
class Op:
    """A primitive: argument names, shape rule, and the tensors it owns (role -> TensorSpec)."""

    arguments: tuple[str, ...]
    shape: Callable[[Args, Sequence[Shape]], Any]
    tensors: Callable[[Args], dict[str, TensorSpec]] = lambda args: {}

    @cached_property
    def takes(self) -> frozenset[str]:
        """The argument names as a set."""
        return frozenset(self.arguments)


POINTWISE = ("silu", "sigmoid", "relu", "relu6", "hardswish", "hardsigmoid", "gelu", "tanh", "mish")
"""Activations without arguments."""

ACTIVATIONS = (*POINTWISE, "leaky_relu")

CALL_ARGUMENTS = ("target", "operands", "keywords", "shape", "tensors")
"""Arguments of torch calls in an imported model that have no separate primitive. `view` changes the shape without a
copy, `copy` copies values, `elementwise` does one operation per output value, `opaque` computes something else.
`target` names the aten overload; `operands` and `keywords` are its arguments, with a `Slot` for each input; `shape` is
the output shape of the trace."""


@dataclass(frozen=True)
class Slot:
    """Marks the position of the n-th input of the node in `operands`."""

    n: int


def _conv2d_tensors(args: Args) -> dict[str, TensorSpec]:
    kind = "frozen" if args["init"] == "arange" else "param"
    tensors = {"weight": TensorSpec((args["c_out"], args["c_in"] // args["groups"], *args["k"]), kind)}
    if args["bias"]:
        tensors["bias"] = TensorSpec((args["c_out"],), kind)
    return tensors


def _conv_transpose2d_tensors(args: Args) -> dict[str, TensorSpec]:
    tensors = {"weight": TensorSpec((args["c_in"], args["c_out"] // args["groups"], *args["k"]))}
    return tensors | ({"bias": TensorSpec((args["c_out"],))} if args["bias"] else {})


def _linear_tensors(args: Args) -> dict[str, TensorSpec]:
    tensors = {"weight": TensorSpec((args["c_out"], args["c_in"]))}
    return tensors | ({"bias": TensorSpec((args["c_out"],))} if args["bias"] else {})


def _mha_tensors(args: Args) -> dict[str, TensorSpec]:
    c = args["c"]
    return {
        "in_proj_weight": TensorSpec((3 * c, c)),
        "in_proj_bias": TensorSpec((3 * c,)),
        "out_proj.weight": TensorSpec((c, c)),
        "out_proj.bias": TensorSpec((c,)),
    }


def _affine(args: Args) -> dict[str, TensorSpec]:
    return {"weight": TensorSpec((args["c"],)), "bias": TensorSpec((args["c"],))} if args.get("affine", True) else {}


@cache  # called twice for every convolution
def _batchnorm(c: Any, affine: bool) -> dict[str, TensorSpec]:
    buffers = {"running_mean": TensorSpec((c,), "buffer"), "running_var": TensorSpec((c,), "buffer")}
    return {**_affine({"c": c, "affine": affine}), **buffers, "num_batches_tracked": TensorSpec((), "buffer")}


def _batchnorm_tensors(args: Args) -> dict[str, TensorSpec]:
    return _batchnorm(args["c"], args["affine"])


OPS: dict[str, Op] = {
    "input": Op(("c",), rules.same),
    "parameter": Op(
        ("shape", "value"), lambda args, inputs: args["shape"], lambda args: {"": TensorSpec(args["shape"])}
    ),
    "conv2d": Op(
        ("c_in", "c_out", "k", "s", "p", "d", "groups", "bias", "init", "bias_init"), rules.conv2d, _conv2d_tensors
    ),
    "conv2d_given": Op(("s", "p", "d", "groups"), rules.conv2d_given),
    "conv_transpose2d": Op(
        ("c_in", "c_out", "k", "s", "p", "op", "d", "groups", "bias"), rules.conv_transpose2d, _conv_transpose2d_tensors
    ),
    "linear": Op(("c_in", "c_out", "bias"), rules.linear, _linear_tensors),
    "matmul": Op((), rules.matmul),
    "einsum": Op(("equation",), rules.einsum),
    "attention": Op(("scale",), rules.attention),
    "sdpa": Op(("scale", "causal"), rules.sdpa),
    "mha": Op(("c", "heads"), rules.same, _mha_tensors),
    "batchnorm": Op(("c", "eps", "momentum", "affine"), rules.same, _batchnorm_tensors),
    "layernorm": Op(("c", "eps", "affine"), rules.same, _affine),
    "groupnorm": Op(("c", "groups", "eps", "affine"), rules.same, _affine),
    **{name: Op((), rules.same) for name in POINTWISE},
    "leaky_relu": Op(("slope",), rules.same),
    "softmax": Op(("dim",), rules.same),
    "maxpool": Op(("k", "s", "p", "ceil"), rules.pool),
    "avgpool": Op(("k", "s", "p", "ceil"), rules.pool),
    "reduce": Op(("kind", "dims", "keep"), rules.reduced),
    "adaptive_avgpool": Op(("size",), rules.fixed_size),
    "pad": Op(("sides", "value"), rules.pad),
    "upsample": Op(("scale", "mode"), rules.upsample),
    "resize_as": Op(("mode",), rules.resize_as),
    "space_to_depth": Op((), rules.space_to_depth),
    "windows": Op(("size",), rules.windows),
    "unwindow": Op(("size",), rules.unwindow),
    "add": Op((), rules.equal),
    "broadcast_add": Op((), rules.product),
    "mul": Op((), rules.product),
    "concat": Op(("dim",), rules.concat),
    "split": Op(("dim", "sizes"), rules.split),
    "item": Op(("index",), rules.item),
    "flatten": Op(("start", "end"), rules.flatten),
    "unflatten": Op(("dim", "sizes"), rules.unflatten),
    "transpose": Op(("dims",), rules.transpose),
    "reshape_as": Op((), rules.reshape_as),
    "detach": Op((), rules.same),
    "dist2box": Op(("strides", "box_format"), rules.same),
    "anchor2box": Op(("strides", "anchors"), rules.anchor2box),
    "cell2box": Op(("strides",), rules.same),
    "posembed2d": Op(("c", "temperature"), rules.posembed2d),
    "constant": Op(
        ("shape", "dtype"), lambda args, inputs: args["shape"], lambda args: {"": TensorSpec(args["shape"], "buffer")}
    ),
    "view": Op(CALL_ARGUMENTS, lambda args, inputs: args["shape"]),
    "copy": Op(CALL_ARGUMENTS, lambda args, inputs: args["shape"]),
    "elementwise": Op(CALL_ARGUMENTS, lambda args, inputs: args["shape"]),
    "opaque": Op(CALL_ARGUMENTS, lambda args, inputs: args["shape"], lambda args: dict(args["tensors"])),
}
"""Primitive name -> Op. LAWS in `costing` and BUILDERS in `nn` have the same keys."""


def owned(node: Node) -> dict[str, TensorSpec]:
    """Tensors of a node: state-dict key -> TensorSpec."""
    tensors = OPS[node.op].tensors(node.args)
    return {key: tensors[role] for role, key in node.params}


def shapes(graph: Graph, image: Shape) -> dict[str, Any]:
    """Node name -> output shape, for an image of shape (batch, channels, height, width).

    Raises:
        EffscopeError: a layer does not fit the layer before it; the message names the node.
    """
    known: dict[str, Any] = {}
    for node in graph.nodes:
        known[node.name] = output_shape(node, [image] if node.op == "input" else [known[n] for n in node.inputs])
    return known


def output_shape(node: Node, inputs: Sequence[Shape]) -> Any:
    """Output shape of a node for these input shapes (for an input node, its own shape). Raises like `shapes`."""
    if node.op not in OPS:
        raise unknown("primitive", node.op, OPS)
    try:
        return OPS[node.op].shape(node.args, inputs)
    except EffscopeError as e:
        raise LayerError(f"{node.name} (layer {node.layer}): {e}", node.layer, f"{node.name}: {e}") from None
