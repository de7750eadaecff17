"""torch 2.15: FlopCounterMode counts 2 x MAC of the aten calls that it knows.

Imports are absolute, so `import torch` is the real package here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.costing.nodes import NodeCost
from effscope.other_counters.counter import Counter, Tool
from effscope.other_counters.rules import CELLS, CONVS, Rules, rules, twice_macs
from effscope.spec.graph import Source

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPWISE = f"gru rnn_tanh rnn_relu {CELLS}"
"""Recurrent layers that torch runs as matrix products on a CPU. An LSTM layer is one kernel."""


def _matmul(row: NodeCost) -> int:
    """0 for a matrix times a vector: the counter does not know this aten call."""
    return 0 if len(row.inputs[1]) == 1 else twice_macs(row)


RULES: Rules = {
    **rules("multiply-adds", twice_macs, f"{CONVS} linear einsum attention mm bmm inner tensordot {STEPWISE}"),
    **rules("multiply-adds", twice_macs, "sdpa mha scaled_dot_product_attention"),
    **rules("matrix x vector: not counted", _matmul, "matmul"),
}


def _unseen(source: Source) -> str:
    return "fused attention: not counted" if source.fused else ""


def _run(module: nn.Module, image: Tensor) -> int:
    import torch  # noqa: PLC0415 - slow import
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - slow import

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops())


COUNTER = Counter(
    "FLOPs", "torch's FlopCounterMode: 2 x MAC, nothing else", RULES, unseen=_unseen, tool=Tool(_run, "torch")
)
