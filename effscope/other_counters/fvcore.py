"""fvcore 0.1.5: FlopCountAnalysis counts multiply-adds, which it calls flops, in a jit trace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effscope.costing.nodes import NodeCost
from effscope.costing.torch_laws import USES_INPUT_STATS
from effscope.other_counters.counter import Counter, Tool
from effscope.other_counters.rules import (
    CELLS,
    CONVS,
    NORMS,
    Rules,
    by_mode,
    macs,
    per_input,
    per_norm_input,
    per_output,
    rules,
)
from effscope.spec.graph import Source
from effscope.spec.shape_rules import indices

if TYPE_CHECKING:
    from torch import Tensor, nn

BY_FORMULA = ("abc,abd->acd", "abc,adc->adb")
"""einsums that fvcore counts by a formula. For all other einsums it uses numpy's estimate."""


def _first_by_columns(row: NodeCost) -> int:
    """Number of values of the first factor times number of columns of the second."""
    a, b = row.inputs[:2]
    return int(math.prod(a) * b[-1])


def _einsum(row: NodeCost) -> int:
    """Half of numpy's estimate, which has four digits. For an einsum without a primitive: effscope's MACs."""
    equation = row.node.args.get("equation")
    if equation is None:
        return macs(row)
    lengths = indices(equation, row.inputs)
    renamed = equation.translate({ord(letter): chr(97 + n) for n, letter in enumerate(lengths)})
    if renamed in BY_FORMULA:
        return macs(row)
    contracted = set(lengths) - set(equation.split("->")[1])
    return int(float(f"{math.prod(lengths.values()) * (2 if contracted else 1):.3e}") / 2)


def _batch_norm(row: NodeCost) -> int:
    """2 per value with stored statistics, 5 with statistics of the input; 1 less without a trained scale."""
    operands = row.node.args.get("operands", ())
    from_input = len(operands) > USES_INPUT_STATS and operands[USES_INPUT_STATS]
    return per_norm_input(5, 4)(row) if from_input else per_norm_input(2, 1)(row)


RULES: Rules = {
    **rules("multiply-adds", macs, f"{CONVS} linear attention mm bmm {CELLS}"),
    **rules("broadcasting is not counted", _first_by_columns, "matmul"),
    **rules("half of numpy's einsum estimate", _einsum, "einsum"),
    **rules("2 per value of a batch norm", _batch_norm, "batchnorm batch_norm"),
    **rules("5 per value of a norm", per_norm_input(5, 4), f"{NORMS} instance_norm"),
    **rules("1 per value nearest, 4 bilinear", by_mode(1, 4), "upsample resize_as"),
    **rules("1 per value of nearest upsampling", per_output(1), "upsample_nearest2d"),
    **rules("4 per value of bilinear upsampling", per_output(4), "upsample_bilinear2d grid_sampler"),
    **rules("1 per value pooled adaptively", per_input(1), "adaptive_avgpool adaptive_avg_pool2d"),
}


def _unseen(source: Source) -> str:
    if source.target.endswith(".padding"):
        return "padding by name: not counted"
    return "baddbmm is not counted" if source.target.startswith("baddbmm") else ""


def _run(module: nn.Module, image: Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415 - optional

    analysis = FlopCountAnalysis(module, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


COUNTER = Counter(
    "MACs",
    "fvcore's FlopCountAnalysis: multiply-adds, which it calls flops",
    RULES,
    unseen=_unseen,
    tool=Tool(_run, "fvcore", gradients=True),
)
