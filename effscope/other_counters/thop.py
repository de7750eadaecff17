"""thop 0.1.1: profile counts multiply-adds and some other operations, with hooks on known modules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effscope.costing.laws import elements
from effscope.costing.nodes import NodeCost, operation
from effscope.costing.torch_laws import GATES
from effscope.other_counters.counter import Counter, Tool
from effscope.other_counters.rules import (
    ADAPTIVE_POOLS,
    CELLS,
    RECURRENT_LAYERS,
    Rules,
    by_mode,
    macs,
    per_norm_input,
    per_output,
    rules,
)
from effscope.spec.graph import Source

if TYPE_CHECKING:
    from torch import Tensor, nn

RECURRENT_EXTRA = {"lstm": 8, "gru": 7, "rnn": 1}
"""Cell -> operations per hidden unit and step, besides multiply-adds and biases."""

_HOOKED = """
Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm
InstanceNorm1d InstanceNorm2d InstanceNorm3d PReLU Softmax AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d
AdaptiveAvgPool2d AdaptiveAvgPool3d Linear Upsample UpsamplingBilinear2d UpsamplingNearest2d RNN GRU LSTM RNNCell
GRUCell LSTMCell
"""
HOOKED = frozenset(_HOOKED.split())
"""Classes of torch.nn that thop puts hooks on."""

FUNCTION_CALL = "a function call: not counted"


def _transposed(row: NodeCost) -> int:
    """Output values times input channels of a group times the kernel."""
    args, x, out = row.node.args, row.inputs[0], row.shape
    groups, kernel = (args["groups"], args["k"]) if "k" in args else (out[1] // row.inputs[1][1], row.inputs[1][2:])
    return int(elements(out) * (x[1] // groups) * math.prod(kernel))


def softmax(row: NodeCost) -> int:
    """Exponentials, sums and quotients along the dimension."""
    n = elements(row.shape)
    dim = row.node.args.get("dim", -1)
    return int(3 * n - n // row.shape[dim])


def _adaptive_pool(row: NodeCost) -> int:
    x, out = row.inputs[0], row.shape
    return int((math.prod(a / b for a, b in zip(x[2:], out[2:], strict=True)) + 1) * elements(out))


def recurrent(row: NodeCost) -> int:
    """Multiply-adds, biases, and operations on gates and states."""
    cell = operation(row).partition("_")[0]
    units = row.counts.act // GATES[cell][1]
    return int(row.counts.macs + row.counts.bias + RECURRENT_EXTRA[cell] * units)


RULES: Rules = {
    **rules("multiply-adds", macs, "conv2d conv2d_given conv1d conv3d linear"),
    **rules(
        "per output value, transposed too",
        _transposed,
        "conv_transpose2d conv_transpose1d conv_transpose3d",
    ),
    **rules("4 per value of a norm", per_norm_input(4, 2), "batchnorm layernorm batch_norm layer_norm instance_norm"),
    **rules("1 per value", per_output(1), "avgpool avg_pool1d avg_pool2d avg_pool3d prelu"),
    **rules("1 per value read and written", _adaptive_pool, f"adaptive_avgpool {ADAPTIVE_POOLS}"),
    **rules("3 per value of a softmax", softmax, "softmax"),
    **rules("1 per value nearest, 11 bilinear", by_mode(1, 11), "upsample resize_as"),
    **rules("1 per value of nearest upsampling", per_output(1), "upsample_nearest2d"),
    **rules("11 per value, bilinear", per_output(11), "upsample_bilinear2d"),
    **rules("259 per value, bicubic", per_output(259), "upsample_bicubic2d"),
    **rules("gates and states count too", recurrent, f"{RECURRENT_LAYERS} {CELLS}"),
}


def _unseen(source: Source) -> str:
    if source.module not in HOOKED:
        return FUNCTION_CALL
    return "a subclass: not counted" if not source.exact else ""


def _repeats(source: Source) -> int:
    """n * n for a module that n modules share."""
    return source.paths**2


def _run(module: nn.Module, image: Tensor) -> int:
    from thop import profile  # noqa: PLC0415 - optional

    return int(profile(module, inputs=(image,), verbose=False)[0])


COUNTER = Counter(
    "MACs",
    "thop 0.1.1's profile, with hooks on modules",
    RULES,
    unseen=_unseen,
    repeats=_repeats,
    tool=Tool(_run, "thop"),
)
