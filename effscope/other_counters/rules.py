"""Parts of the tools' rules: operation -> the count of a tool, and the reason. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from effscope.costing.laws import elements
from effscope.costing.nodes import NodeCost
from effscope.spec.graph import Source
from effscope.spec.ops import Slot

Count = Callable[[NodeCost], int]
"""Node -> count of a tool, in the unit of the tool."""


class CountingRule(NamedTuple):
    """The count of a tool for an operation, as a function and in words."""

    count: Count
    says: str


Rules = Mapping[str, CountingRule]
"""Operation (`costing.nodes.operation`) -> rule."""

CONVS = "conv2d conv2d_given conv_transpose2d conv1d conv3d conv_transpose1d conv_transpose3d"
PRODUCTS = "linear matmul einsum attention mm bmm"
CELLS = "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"
RECURRENT_LAYERS = "lstm gru rnn_tanh rnn_relu"
ADAPTIVE_POOLS = "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
NORMS = "layernorm groupnorm layer_norm native_layer_norm group_norm"

BUILT_AS = {
    "conv2d": "Conv2d", "conv_transpose2d": "ConvTranspose2d", "linear": "Linear", "batchnorm": "BatchNorm2d",
    "layernorm": "LayerNorm", "groupnorm": "GroupNorm", "silu": "SiLU", "sigmoid": "Sigmoid", "relu": "ReLU",
    "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "hardsigmoid": "Hardsigmoid", "hardswish": "Hardswish", "gelu": "GELU",
    "tanh": "Tanh", "mish": "Mish", "maxpool": "MaxPool2d", "avgpool": "AvgPool2d",
    "adaptive_avgpool": "AdaptiveAvgPool2d", "pad": "ConstantPad2d", "upsample": "Upsample", "flatten": "Flatten",
    "unflatten": "Unflatten", "mha": "MultiheadAttention",
}  # fmt: skip
"""Primitive -> its class in torch.nn when effscope builds it. Other primitives have classes of effscope."""

CALLED = {"attention": "matmul", "sdpa": "scaled_dot_product_attention"}
"""Primitive -> torch function that its module calls, if the names differ."""


def rules(says: str, count: Count, names: str) -> dict[str, CountingRule]:
    """One rule for several operations; `names` are separated by spaces."""
    return {name: CountingRule(count, says) for name in names.split()}


def source_of(row: NodeCost) -> Source:
    """The torch call of a traced node, or the call that effscope builds for the node."""
    op = row.node.op
    built = Source(f"{CALLED.get(op, op)}.default", BUILT_AS.get(op, "Module"), op in BUILT_AS and op != "mha")
    return row.node.source or built


def macs(row: NodeCost) -> int:
    """Multiply-adds."""
    return int(row.counts.macs)


def twice_macs(row: NodeCost) -> int:
    """Two FLOPs for each multiply-add."""
    return 2 * macs(row)


def per_output(operations: int) -> Count:
    """Operations per output value."""
    return lambda row: operations * elements(row.shape)


def per_input(operations: int) -> Count:
    """Operations per value of the first input."""
    return lambda row: operations * elements(row.inputs[0])


def per_norm_input(scaled: int, unscaled: int) -> Count:
    """Operations per input value of a norm with a trained scale, and of one without."""

    def count(row: NodeCost) -> int:
        operands = row.node.args.get("operands", ())  # of a norm that no primitive covers
        has_scale = row.weights or any(isinstance(value, Slot) for value in operands[1:3])
        return int((scaled if has_scale else unscaled) * elements(row.inputs[0]))

    return count


def by_mode(nearest: int, bilinear: int) -> Count:
    """Operations per output value of an upsampling, by its mode."""
    return lambda row: (bilinear if row.node.args["mode"] == "bilinear" else nearest) * elements(row.shape)
