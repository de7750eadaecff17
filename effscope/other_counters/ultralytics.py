"""Ultralytics' info(): twice the count of ultralytics-thop 2.2, a fork of thop, for the model with every head.

It needs Ultralytics' own model, so effscope cannot run it on a module. The tests run it (tests/peers).
"""

from __future__ import annotations

import math

from effscope.costing.laws import elements
from effscope.costing.nodes import NodeCost
from effscope.costing.torch_laws import function_of
from effscope.other_counters.counter import Counter
from effscope.other_counters.rules import (
    ADAPTIVE_POOLS,
    CELLS,
    CONVS,
    NORMS,
    RECURRENT_LAYERS,
    CountingRule,
    Rules,
    by_mode,
    macs,
    per_norm_input,
    per_output,
    rules,
    source_of,
)
from effscope.other_counters.thop import FUNCTION_CALL, HOOKED, recurrent, softmax
from effscope.spec.graph import Source

ALSO_HOOKED = HOOKED | {"GroupNorm", "Bilinear", "MultiheadAttention", "RMSNorm"}
FUNCTIONS_SEEN = frozenset({"matmul", "bmm", "einsum", "linear", "scaled_dot_product_attention"})
"""Functions that ultralytics-thop counts in any module."""


def _pool(row: NodeCost) -> int:
    """A sum over every window, padding included, and a quotient for each output value.

    0 for a built-in model: Ultralytics' blocks pool with a function, which the tool does not see.
    """
    if row.node.source is None:
        return 0
    args, x, out = row.node.args, row.inputs[0], row.shape
    per_map = 1
    for size, n in zip(x[2:], out[2:], strict=True):
        k, s, p = args["k"], args["s"], args["p"]
        per_map *= sum(max(min(i * s - p + k, size + p) - max(i * s - p, -p), 0) for i in range(n))
    return int(x[0] * x[1] * per_map + elements(out))


def _adaptive_pool(row: NodeCost) -> int:
    x, out = row.inputs[0], row.shape
    windows = [sum(-(-(j + 1) * i // o) - j * i // o for j in range(o)) for i, o in zip(x[2:], out[2:], strict=True)]
    return int(x[0] * x[1] * math.prod(windows) + elements(out))


def _fused_attention(row: NodeCost) -> int:
    """The products; in torch's MultiheadAttention also the softmax."""
    q, k = row.inputs[:2]
    pairs = math.prod(q[:-1]) * k[-2]
    inside = source_of(row).module == "MultiheadAttention"
    return int(row.counts.macs + (3 * pairs - math.prod(q[:-1]) if inside else 0))


THOP_RULES: Rules = {
    **rules("multiply-adds", macs, f"{CONVS} linear matmul bmm einsum attention bilinear"),
    **rules("products, softmax if in a module", _fused_attention, "sdpa scaled_dot_product_attention"),
    **rules("4 per value of a norm", per_norm_input(4, 2), f"batchnorm batch_norm instance_norm rms_norm {NORMS}"),
    **rules("sums and a quotient per value", _pool, "avgpool"),
    **rules("sums and a quotient per value", _adaptive_pool, f"adaptive_avgpool {ADAPTIVE_POOLS}"),
    **rules("3 per value of a softmax", softmax, "softmax"),
    **rules("1 per value", per_output(1), "prelu"),
    **rules("0 per value nearest, 11 bilinear", by_mode(0, 11), "upsample resize_as"),
    **rules("11 per value, bilinear", per_output(11), "upsample_bilinear2d"),
    **rules("259 per value, bicubic", per_output(259), "upsample_bicubic2d"),
    **rules("gates and states count too", recurrent, f"{RECURRENT_LAYERS} {CELLS}"),
}
"""Rules of ultralytics-thop, in MACs."""


def _twice(rule: CountingRule) -> CountingRule:
    return CountingRule(lambda row: 2 * rule.count(row), rule.says)


def _unseen(source: Source) -> str:
    seen = source.module in ALSO_HOOKED or function_of(source.target) in FUNCTIONS_SEEN
    return "" if seen else FUNCTION_CALL


COUNTER = Counter(
    "FLOPs",
    "Ultralytics' info(): twice the count of ultralytics-thop, with every head",
    {name: _twice(rule) for name, rule in THOP_RULES.items()},
    form=lambda graph: graph,
    unseen=_unseen,
)
