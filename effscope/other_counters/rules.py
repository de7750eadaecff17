"""What each of the other tools counts for an operation, one table of rules a tool, and which calls it does not see.

Source of the facts: the tools themselves (fvcore 0.1.5, thop 0.1.1, ultralytics-thop 2.2, torch 2.15's
FlopCounterMode), run beside these tables by `cost --check` and in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from effscope.costing.laws import elements
from effscope.costing.nodes import NodeCost, operation
from effscope.costing.torch_laws import FROM_MAP, GATES, function_of
from effscope.spec.graph import Source
from effscope.spec.ops import Slot
from effscope.spec.shape_rules import indices


class Rule(NamedTuple):
    """What a tool counts for an operation, and what it says of it in words."""

    count: Callable[[NodeCost], int]
    says: str


Rules = Mapping[str, Rule]


MODULES = {
    "conv2d": "Conv2d", "conv_transpose2d": "ConvTranspose2d", "linear": "Linear", "batchnorm": "BatchNorm2d",
    "layernorm": "LayerNorm", "groupnorm": "GroupNorm", "silu": "SiLU", "sigmoid": "Sigmoid", "relu": "ReLU",
    "relu6": "ReLU6", "leaky_relu": "LeakyReLU", "hardsigmoid": "Hardsigmoid", "hardswish": "Hardswish", "gelu": "GELU",
    "tanh": "Tanh", "mish": "Mish", "maxpool": "MaxPool2d", "avgpool": "AvgPool2d",
    "adaptive_avgpool": "AdaptiveAvgPool2d", "pad": "ConstantPad2d", "upsample": "Upsample", "flatten": "Flatten",
    "unflatten": "Unflatten", "mha": "MultiheadAttention",
}  # fmt: skip
"""Primitive -> the class of torch.nn it is built as; others are modules of our own around a function."""

CALLED = {"attention": "matmul", "sdpa": "scaled_dot_product_attention"}
"""Primitive -> the function it is built around, where that has another name."""


def source_of(row: NodeCost) -> Source:
    """The call a node was traced from, or is built as."""
    op = row.node.op
    built = Source(f"{CALLED.get(op, op)}.default", MODULES.get(op, "Module"), op in MODULES and op != "mha")
    return row.node.source or built


def macs(row: NodeCost) -> int:
    return int(row.counts.macs)


def _twice_macs(row: NodeCost) -> int:
    return 2 * macs(row)


def _out(times: int) -> Callable[[NodeCost], int]:
    return lambda row: times * elements(row.shape)


def _read(times: int) -> Callable[[NodeCost], int]:
    return lambda row: times * elements(row.inputs[0])


def _affine(yes: int, no: int) -> Callable[[NodeCost], int]:
    """So much per value of a norm with a trained scale, and without."""

    def count(row: NodeCost) -> int:
        given = row.node.args.get("operands", ())  # of norms that run as they are
        scaled = any(isinstance(value, Slot) for value in given[1:3])
        return int((yes if row.weights or scaled else no) * elements(row.inputs[0]))

    return count


def _fvcore_batch_norm(row: NodeCost) -> int:
    """2 per value with statistics of its own, 5 where it takes them from the map; one less without a scale."""
    given = row.node.args.get("operands", ())
    from_map = len(given) > FROM_MAP and given[FROM_MAP]
    return _affine(5, 4)(row) if from_map else _affine(2, 1)(row)


def _by_mode(nearest: int, bilinear: int) -> Callable[[NodeCost], int]:
    return lambda row: (bilinear if row.node.args["mode"] == "bilinear" else nearest) * elements(row.shape)


def rules(says: str, count: Callable[[NodeCost], int], names: str) -> dict[str, Rule]:
    return {name: Rule(count, says) for name in names.split()}


CONVS = "conv2d conv2d_given conv_transpose2d conv1d conv3d conv_transpose1d conv_transpose3d"
PRODUCTS = "linear matmul einsum attention mm bmm"
CELLS = "lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell"
ADAPTIVE = "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
NORMS = "layernorm groupnorm layer_norm native_layer_norm group_norm"


def _first_by_columns(row: NodeCost) -> int:
    """Values of the first factor times columns of the second."""
    a, b = row.inputs[:2]
    return int(math.prod(a) * b[-1])


def _einsum_path(row: NodeCost) -> int:
    """Half of numpy's estimate, which is printed with four digits; of what runs as it is, our own count."""
    equation = row.node.args.get("equation")
    if equation is None:
        return macs(row)
    lengths = indices(equation, row.inputs)
    spelt = equation.translate({ord(letter): chr(97 + n) for n, letter in enumerate(lengths)})
    if spelt in EXACTLY:
        return macs(row)
    contracted = set(lengths) - set(equation.split("->")[1])
    return int(float(f"{math.prod(lengths.values()) * (2 if contracted else 1):.3e}") / 2)


EXACTLY = ("abc,abd->acd", "abc,adc->adb")
"""einsums that fvcore counts by a formula."""


FVCORE: Rules = {
    **rules("multiply-adds", macs, f"{CONVS} linear attention mm bmm {CELLS}"),
    **rules("broadcasting is not seen", _first_by_columns, "matmul"),
    **rules("products of values count half, sums of one operand fully", _einsum_path, "einsum"),
    **rules("2 per value of a batch norm", _fvcore_batch_norm, "batchnorm batch_norm"),
    **rules("5 per value of a norm", _affine(5, 4), f"{NORMS} instance_norm"),
    **rules("1 per value of a nearest upsampling, 4 of a bilinear one", _by_mode(1, 4), "upsample resize_as"),
    **rules("1 per value of a nearest upsampling", _out(1), "upsample_nearest2d"),
    **rules("4 per value of a bilinear upsampling", _out(4), "upsample_bilinear2d grid_sampler"),
    **rules("1 per value read by adaptive pooling", _read(1), "adaptive_avgpool adaptive_avg_pool2d"),
}


def unseen_by_fvcore(source: Source) -> str:
    if source.target.endswith(".padding"):
        return "padding in words ('same', 'valid') is not counted"
    return "baddbmm is not counted" if source.target.startswith("baddbmm") else ""


STEPWISE = f"gru rnn_tanh rnn_relu {CELLS}"
"""Recurrent layers that torch runs as matrix products on a CPU; an LSTM is one kernel."""


def _no_vectors(row: NodeCost) -> int:
    """A matrix times a vector is an operation the counter does not know."""
    return 0 if len(row.inputs[1]) == 1 else _twice_macs(row)


TORCH: Rules = {
    **rules("multiply-adds", _twice_macs, f"{CONVS} linear einsum attention mm bmm inner tensordot {STEPWISE}"),
    **rules("multiply-adds", _twice_macs, "sdpa mha scaled_dot_product_attention"),
    **rules("a matrix times a vector is not counted", _no_vectors, "matmul"),
}


def unseen_by_torch(source: Source) -> str:
    return "torch's fused kernel for attention at inference is not counted" if source.fused else ""


def _thop_transposed(row: NodeCost) -> int:
    """Output values times input channels of a group times the kernel."""
    args, x, out = row.node.args, row.inputs[0], row.shape
    groups, kernel = (args["groups"], args["k"]) if "k" in args else (out[1] // row.inputs[1][1], row.inputs[1][2:])
    return int(elements(out) * (x[1] // groups) * math.prod(kernel))


def _softmax(row: NodeCost) -> int:
    """Exponentials, sums and quotients along the dimension."""
    n = elements(row.shape)
    dim = row.node.args.get("dim", -1)
    return int(3 * n - n // row.shape[dim])


def _adaptive(row: NodeCost) -> int:
    x, out = row.inputs[0], row.shape
    return int((math.prod(a / b for a, b in zip(x[2:], out[2:], strict=True)) + 1) * elements(out))


RECURRENT = {"lstm": 8, "gru": 7, "rnn": 1}
"""Operations per hidden unit and step that are neither multiply-adds nor biases, as thop counts them."""


def _thop_recurrent(row: NodeCost) -> int:
    cell = operation(row).partition("_")[0]
    units = row.counts.act // GATES[cell][1]
    return int(row.counts.macs + row.counts.bias + RECURRENT[cell] * units)


RECURRENT_LAYERS = "lstm gru rnn_tanh rnn_relu"

THOP: Rules = {
    **rules("multiply-adds", macs, "conv2d conv2d_given conv1d conv3d linear"),
    **rules(
        "per output value, also transposed", _thop_transposed, "conv_transpose2d conv_transpose1d conv_transpose3d"
    ),
    **rules("4 per value of a norm", _affine(4, 2), "batchnorm layernorm batch_norm layer_norm instance_norm"),
    **rules("1 per value", _out(1), "avgpool avg_pool1d avg_pool2d avg_pool3d prelu"),
    **rules("1 per value read and given by adaptive pooling", _adaptive, f"adaptive_avgpool {ADAPTIVE}"),
    **rules("3 per value of a softmax", _softmax, "softmax"),
    **rules("1 per value of a nearest upsampling, 11 of a bilinear one", _by_mode(1, 11), "upsample resize_as"),
    **rules("1 per value of a nearest upsampling", _out(1), "upsample_nearest2d"),
    **rules("11 per value of a bilinear upsampling", _out(11), "upsample_bilinear2d"),
    **rules("259 per value of a bicubic upsampling", _out(259), "upsample_bicubic2d"),
    **rules("gates and states too", _thop_recurrent, f"{RECURRENT_LAYERS} {CELLS}"),
}

_HOOKED = """
Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm
InstanceNorm1d InstanceNorm2d InstanceNorm3d PReLU Softmax AvgPool1d AvgPool2d AvgPool3d AdaptiveAvgPool1d
AdaptiveAvgPool2d AdaptiveAvgPool3d Linear Upsample UpsamplingBilinear2d UpsamplingNearest2d RNN GRU LSTM RNNCell
GRUCell LSTMCell
"""
HOOKED = frozenset(_HOOKED.split())
"""Classes of torch.nn that thop counts."""


def unseen_by_thop(source: Source) -> str:
    if source.module not in HOOKED:
        return "called as a function, outside of a module it counts"
    return "" if source.exact else "in a class derived from the one it counts"


def _pool_windows(row: NodeCost) -> int:
    """A sum per value in the windows, padding among them, and a quotient per value given; Ultralytics' own blocks
    call a function, which is not seen."""
    if row.node.source is None:
        return 0
    args, x, out = row.node.args, row.inputs[0], row.shape
    per_map = 1
    for size, n in zip(x[2:], out[2:], strict=True):
        k, s, p = args["k"], args["s"], args["p"]
        per_map *= sum(max(min(i * s - p + k, size + p) - max(i * s - p, -p), 0) for i in range(n))
    return int(x[0] * x[1] * per_map + elements(out))


def _adaptive_windows(row: NodeCost) -> int:
    x, out = row.inputs[0], row.shape
    windows = [sum(-(-(j + 1) * i // o) - j * i // o for j in range(o)) for i, o in zip(x[2:], out[2:], strict=True)]
    return int(x[0] * x[1] * math.prod(windows) + elements(out))


def _fused_softmax(row: NodeCost) -> int:
    """The products, and inside of torch's attention module its softmax."""
    q, k = row.inputs[:2]
    pairs = math.prod(q[:-1]) * k[-2]
    inside = source_of(row).module == "MultiheadAttention"
    return int(row.counts.macs + (3 * pairs - math.prod(q[:-1]) if inside else 0))


ULTRALYTICS_THOP: Rules = {
    **rules("multiply-adds", macs, f"{CONVS} linear matmul bmm einsum attention bilinear"),
    **rules("products, and the softmax in torch's attention", _fused_softmax, "sdpa scaled_dot_product_attention"),
    **rules("4 per value of a norm", _affine(4, 2), f"batchnorm batch_norm instance_norm rms_norm {NORMS}"),
    **rules("sums of the windows and a quotient per value", _pool_windows, "avgpool"),
    **rules("sums of the windows and a quotient per value", _adaptive_windows, f"adaptive_avgpool {ADAPTIVE}"),
    **rules("3 per value of a softmax", _softmax, "softmax"),
    **rules("1 per value", _out(1), "prelu"),
    **rules("0 per value of a nearest upsampling, 11 of a bilinear one", _by_mode(0, 11), "upsample resize_as"),
    **rules("11 per value of a bilinear upsampling", _out(11), "upsample_bilinear2d"),
    **rules("259 per value of a bicubic upsampling", _out(259), "upsample_bicubic2d"),
    **rules("gates and states too", _thop_recurrent, f"{RECURRENT_LAYERS} {CELLS}"),
}
ALSO_HOOKED = HOOKED | {"GroupNorm", "Bilinear", "MultiheadAttention", "RMSNorm"}
FUNCTIONS_SEEN = frozenset({"matmul", "bmm", "einsum", "linear", "scaled_dot_product_attention"})
"""What ultralytics-thop counts where a function is called, no module."""


def unseen_by_ultralytics(source: Source) -> str:
    seen = source.module in ALSO_HOOKED or function_of(source.target) in FUNCTIONS_SEEN
    return "" if seen else "called as a function, outside of a module it counts"


def twice(rules: Rules) -> Rules:
    def doubled(rule: Rule) -> Rule:
        return Rule(lambda row: 2 * rule.count(row), rule.says)

    return {name: doubled(rule) for name, rule in rules.items()}


PAPER: Rules = rules("multiply-adds", _twice_macs, "conv2d conv2d_given conv_transpose2d")
