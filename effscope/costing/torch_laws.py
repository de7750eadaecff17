"""Cost of torch functions that no primitive covers: recurrent layers, deformable and 3D convolutions, products with
vectors, any einsum, resampling, reductions.

A law reads the call from `args`: `operands` and `keywords` in the order of torch's schema, with a `Slot` for each
tensor. The counting convention is that of `costing.laws`. A function without a law is listed as uncounted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from effscope.costing.einsum import equation_parts, pairwise
from effscope.spec.ops import Slot
from effscope.spec.shape_rules import Args, Shape, broadcast

Columns = dict[str, Any]
"""Column of `laws.Counts` -> operations."""

Law = Callable[[Args, Sequence[Shape], Any], Columns]
"""Arguments, input shapes, output shape (a tuple of shapes if there are several outputs) -> counts."""


def function_of(target: str) -> str:
    """Name without the overload: "conv3d.default" -> "conv3d"."""
    return target.rpartition(".")[0] or target


def _slots(value: Any) -> list[Slot]:
    """Tensors in an operand: one, or a list of them."""
    values = value if isinstance(value, tuple | list) else (value,)
    return [v for v in values if isinstance(v, Slot)]


def _tensors(args: Args, inputs: Sequence[Shape], *positions: int) -> list[Shape]:
    """Shapes of the tensors at these positions of the call; omitted arguments are skipped."""
    operands = args["operands"]
    return [inputs[slot.n] for p in positions if p < len(operands) for slot in _slots(operands[p])]


def _first(out: Any) -> Shape:
    """Shape of the first output."""
    return out[0] if out and isinstance(out[0], tuple) else out


BIAS = 2
"""Position of the bias in the calls of convolutions and of linear."""


def _conv(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    weight = inputs[1]
    positions = math.prod(out) // weight[0]
    macs = math.prod(weight) * positions
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if _tensors(args, inputs, BIAS) else 0}


def _conv_transpose(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    x, weight = inputs[:2]
    macs = math.prod(weight) * (math.prod(x) // weight[0])
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out) if _tensors(args, inputs, BIAS) else 0}


def _deform_conv2d(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """The convolution, plus one bilinear sample (and with a mask one product) per kernel point and input channel."""
    weight, positions = inputs[1], out[0] * out[2] * out[3]
    taps = inputs[0][1] * weight[2] * weight[3] * positions
    masked = bool(args["operands"][-1]) if args["operands"] else False
    macs = math.prod(weight) * positions
    return {
        "macs": macs,
        "conv_macs": macs,
        "bias": math.prod(out),
        "resample": 7 * taps,
        "elementwise": taps if masked else 0,
    }


GATES = {"lstm": (4, 5, 4), "gru": (3, 3, 5), "rnn": (1, 1, 0)}
"""Cell -> number of gates; activations, and elementwise operations, per hidden unit and step."""


def _recurrent(args: Args, inputs: Sequence[Shape], out: Any) -> Columns:
    """Every weight matrix at every step.

    A cell has its weights as separate arguments. A layer has one list, with the same number of weights for each level
    and direction; the first weight has gates * hidden rows.
    """
    gates, act, other = GATES[args["target"].partition("_")[0].partition(".")[0]]
    steps = math.prod(inputs[0][:-1])
    weights = _tensors(args, inputs, 2, 3, 4, 5)
    levels = 1
    if not function_of(args["target"]).endswith("_cell"):
        levels = args["operands"][4] * (2 if args["operands"][7] else 1)
    hidden = sum(shape[0] for shape in weights[:: len(weights) // levels]) // gates
    return {
        "macs": steps * sum(math.prod(shape) for shape in weights if len(shape) > 1),
        "bias": steps * sum(math.prod(shape) for shape in weights if len(shape) == 1),
        "act": steps * act * hidden,
        "elementwise": steps * other * hidden,
    }


def _matmul(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """A vector counts as a matrix with one row (left operand) or one column (right operand)."""
    a, b = (inputs[slot.n] for slot in [s for operand in args["operands"] for s in _slots(operand)][:2])
    lead = broadcast(a[:-2], b[:-2])
    rows = a[-2] if len(a) > 1 else 1
    columns = b[-1] if len(b) > 1 else 1
    return {"macs": math.prod(lead) * rows * columns * a[-1]}


def _inner(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """Contracts the last dimension of both operands."""
    return {"macs": math.prod(inputs[0]) * math.prod(inputs[1][:-1])}


def _tensordot(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    contracted = math.prod(inputs[0][d] for d in args["operands"][2])
    return {"macs": math.prod(inputs[0]) * math.prod(inputs[1]) // contracted}


def _addbmm(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """Products of a batch of matrices, then a sum over the batch."""
    a, b = _tensors(args, inputs, 1, 2)
    return {"macs": math.prod(a) * b[-1], "elementwise": a[0] * math.prod(out)}


def _affine_grid(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """Homogeneous coordinates of every position times the matrix."""
    return {"macs": math.prod(out) * inputs[0][-1]}


def _conv_tbc(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """A 1D convolution of a (time, batch, channels) tensor."""
    macs = math.prod(inputs[1]) * out[0] * out[1]
    return {"macs": macs, "conv_macs": macs, "bias": math.prod(out)}


def _sum_and_product(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """addmm, baddbmm, addmv: the product of the second and third tensor, plus the first."""
    a = _tensors(args, inputs, 1)[0]
    return {"macs": math.prod(out) * a[-1], "elementwise": math.prod(out)}


def _linear(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    return {
        "macs": math.prod(out) * inputs[1][-1],
        "bias": math.prod(out) if _tensors(args, inputs, BIAS) else 0,
    }


def _bilinear(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """x1^T W x2 for each output: first W x2, then the product with x1."""
    x1, _, weight = inputs[:3]
    c_out, c1, c2 = weight
    positions = math.prod(x1[:-1])
    has_bias = bool(_tensors(args, inputs, 3))
    return {"macs": positions * c_out * c1 * (c2 + 1), "bias": positions * c_out if has_bias else 0}


def sdpa(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """Dense attention: a mask does not reduce it; with grouped queries every query head reads the shared keys."""
    q, k, v = inputs[:3]
    pairs = math.prod(q[:-1]) * k[-2]
    return {"macs": pairs * (q[-1] + v[-1]), "softmax": 3 * pairs, "elementwise": pairs}


def _einsum(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    tensors = [inputs[slot.n] for slot in _slots(args["operands"][1])]
    return pairwise(*equation_parts(args["operands"][0].replace(" ", ""), tensors), tensors)


def _per_input(column: str, operations: int = 1) -> Law:
    return lambda args, inputs, out: {column: operations * math.prod(inputs[0])}


def _per_output(column: str, operations: int = 1) -> Law:
    return lambda args, inputs, out: {column: operations * math.prod(_first(out))}


def _window(args: Args, inputs: Sequence[Shape], out: Any) -> Columns:
    """Window size - 1 per output value, in one, two or three dimensions."""
    kernel = args["operands"][1]
    dims = 1 if "1d" in args["target"] else 3 if "3d" in args["target"] else 2
    size = kernel**dims if isinstance(kernel, int) else math.prod(kernel) if len(kernel) > 1 else kernel[0] ** dims
    return {"pool": (size - 1) * math.prod(_first(out))}


SORTED_ALONG = {"topk": 2, "kthvalue": 2, "sort": 1, "argsort": 1}
"""Function -> position of its dimension argument; without it the function sorts along the last dimension."""


def _sorting(args: Args, inputs: Sequence[Shape], out: Any) -> Columns:
    """n log2 n comparisons along the dimension."""
    position = SORTED_ALONG[function_of(args["target"])]
    dim = args["operands"][position] if len(args["operands"]) > position else -1
    n = inputs[0][dim] if inputs[0] else 1
    return {"elementwise": math.prod(inputs[0]) * math.ceil(math.log2(max(n, 2)))}


def _distances(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    """A difference, a square and a sum for each pair and coordinate."""
    return {"elementwise": 3 * math.prod(out) * inputs[0][-1]}


SAMPLED = {(4, 0): 7, (5, 0): 15, (4, 1): 0, (5, 1): 0, (4, 2): 35}
"""(dimensions of the output, torch's mode: 0 linear, 1 nearest, 2 cubic) -> operations per output value."""


def _grid_sample(args: Args, inputs: Sequence[Shape], out: Shape) -> Columns:
    return {"resample": SAMPLED[len(out), args["operands"][2]] * math.prod(out)}


USES_INPUT_STATS = 5
"""Position of the flag for statistics from the input, instead of buffers, in batch norm and instance norm."""


def _batch_norm(args: Args, inputs: Sequence[Shape], out: Any) -> Columns:
    """2 per value with stored statistics; 5, like a group norm, with statistics of the input."""
    return {"norm": (5 if args["operands"][USES_INPUT_STATS] else 2) * math.prod(_first(out))}


REDUCTIONS = """
mean sum amax amin max min prod var std var_mean std_mean norm linalg_vector_norm all any argmax argmin logsumexp
count_nonzero cumsum cumprod adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
adaptive_max_pool2d adaptive_max_pool3d
"""

LAWS_OF_FUNCTIONS: tuple[tuple[str, Law], ...] = (
    ("conv1d conv2d conv3d", _conv),
    ("conv_transpose1d conv_transpose2d conv_transpose3d", _conv_transpose),
    ("torchvision.deform_conv2d", _deform_conv2d),
    ("lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", _recurrent),
    ("conv_tbc", _conv_tbc),
    ("matmul mm bmm mv dot vdot linalg_vecdot", _matmul),
    ("inner", _inner),
    ("tensordot", _tensordot),
    ("addbmm", _addbmm),
    ("affine_grid_generator", _affine_grid),
    ("addmm baddbmm addmv", _sum_and_product),
    ("linear", _linear),
    ("bilinear", _bilinear),
    ("scaled_dot_product_attention", sdpa),
    ("einsum", _einsum),
    ("outer ger", _per_output("elementwise")),
    ("_native_batch_norm_legit_no_training", _per_output("norm", 2)),
    ("batch_norm instance_norm", _batch_norm),
    ("layer_norm native_layer_norm group_norm native_group_norm rms_norm", _per_output("norm", 5)),
    ("gelu silu hardswish", _per_output("act", 2)),
    ("hardtanh hardtanh_ relu sigmoid tanh threshold softshrink", _per_output("act")),
    ("softmax log_softmax _softmax _log_softmax softmin", _per_output("softmax", 3)),
    ("max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d", _window),
    ("max_pool2d_with_indices max_pool3d_with_indices", _window),
    (REDUCTIONS, _per_input("pool")),
    ("upsample_linear1d", _per_output("resample", 3)),
    ("upsample_bilinear2d _upsample_bilinear2d_aa", _per_output("resample", 7)),
    ("upsample_trilinear3d", _per_output("resample", 15)),
    ("upsample_bicubic2d _upsample_bicubic2d_aa", _per_output("resample", 35)),
    ("grid_sampler grid_sampler_2d grid_sampler_3d", _grid_sample),
    ("max.other min.other", _per_output("elementwise")),
    ("topk sort argsort kthvalue", _sorting),
    ("cdist", _distances),
    ("cosine_similarity", _per_input("elementwise", 6)),
)
"""Names of torch functions -> their law. Linear interpolation between two values costs 3; a bicubic value needs five
cubic interpolations of 7 operations each."""

FUNCTIONS: dict[str, Law] = {name: law for names, law in LAWS_OF_FUNCTIONS for name in names.split()}
"""Torch function, or one of its overloads -> law."""


def law_of(target: str) -> Law | None:
    """The law of an overload, or of its function; None if there is none."""
    return FUNCTIONS.get(target) or FUNCTIONS.get(function_of(target))
