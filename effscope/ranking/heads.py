"""Redundancy of attention heads over images: how evenly each head attends, and how similar two heads are.

Source: Clark et al., arXiv 1906.04341: entropy of a head's attention, Jensen-Shannon divergence between two heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.nn.function_modules import Attention, Float32Softmax, ScaledAttention, SelfAttention
from effscope.results import HeadUse
from effscope.spec.graph import Graph

FEWEST_DIMS = 3
"""Attention weights have at least the dimensions (heads, positions, choices)."""
ROWS_AT_ONCE = 1 << 22
"""Maximum number of attention weights to compare in one step."""
ALLOWED = 1e-30
"""Attention weights below this are masked: the head cannot attend there."""


def _of_maps(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(module, Attention)
    return module.weights(inputs[0].float(), inputs[1].float()).transpose(0, 1)


def _of_tokens(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(module, ScaledAttention)
    q, k = inputs[0].float(), inputs[1].float()
    scale = module.scale if module.scale is not None else q.shape[-1] ** -0.5
    logits = q @ k.transpose(-2, -1) * scale
    if module.causal:
        logits = logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).triu(1), -math.inf)
    if len(inputs) > 3:  # noqa: PLR2004 - the fourth input is a mask
        mask = inputs[3]
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    return _heads_first(logits.softmax(-1))


def _of_multihead(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(module, SelfAttention)
    c, heads = module.embed_dim, module.num_heads
    weight, bias = module.in_proj_weight, module.in_proj_bias
    rows = [F.linear(x, weight[n * c : (n + 1) * c], bias[n * c : (n + 1) * c]) for n, x in enumerate(inputs[:2])]
    q, k = (x.reshape(*x.shape[:2], heads, c // heads).transpose(1, 2) for x in rows)
    return _heads_first(torch.softmax(q @ k.transpose(-2, -1) * (c // heads) ** -0.5, -1))


def _heads_first(weights: Tensor) -> Tensor:
    """(..., heads, positions, choices) as (heads, ..., positions, choices); leading dimensions may be missing."""
    return weights.float().movedim(-3, 0)


WEIGHTS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]] = {
    "attention": _of_maps,
    "sdpa": _of_tokens,
    "mha": _of_multihead,
    "softmax": lambda module, inputs, out: _heads_first(out),
}
"""Primitive -> function of (module, inputs, output) that returns attention weights (heads, ..., positions, choices)."""

BETWEEN = frozenset({"view", "copy", "opaque", "item", "elementwise", "transpose"})
"""Primitives allowed between a softmax and the product that uses it as weights: dropout, a change of shape."""


def attention_nodes(graph: Graph) -> dict[str, str]:
    """Name -> primitive of the attention nodes: attention itself, and softmaxes that are weights in a product."""
    nodes = graph.by_name()
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node.name)

    def weighs(name: str) -> bool:
        return any(nodes[r].op == "matmul" or (nodes[r].op in BETWEEN and weighs(r)) for r in readers.get(name, ()))

    return {
        n.name: n.op for n in graph.nodes
        if n.op in ("attention", "sdpa", "mha") or (n.op == "softmax" and weighs(n.name))
    }  # fmt: skip


class HeadStatistics:
    """A forward hook that sums entropies and divergences of the heads of one attention; it stores no attention map."""

    def __init__(self, name: str, op: str) -> None:
        self.name, self.op = name, op
        self.rows = self.choices = 0
        self.entropy = self.max_entropy = self.divergence = torch.zeros(0, dtype=torch.float64)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        over_last = not isinstance(module, Float32Softmax) or module.dim % out.dim() == out.dim() - 1
        if not over_last or (self.op == "softmax" and out.dim() < FEWEST_DIMS):
            return
        weights = WEIGHTS[self.op](module, inputs, out).flatten(1, -2)
        heads, rows, self.choices = weights.shape
        if not self.rows:
            self.entropy, self.max_entropy = torch.zeros(2, heads, dtype=torch.float64)
            self.divergence = torch.zeros(heads, heads, dtype=torch.float64)
        for chunk in torch.split(weights, max(1, ROWS_AT_ONCE // (heads * self.choices)), 1):
            self._add(chunk.double())
        self.rows += rows

    def _add(self, weights: Tensor) -> None:
        entropies = torch.special.entr(weights).sum(-1)
        self.entropy += entropies.sum(1).cpu()
        self.max_entropy += (weights > ALLOWED).sum(-1).double().log().sum(1).cpu()
        for n in range(1, len(weights)):
            mixed = torch.special.entr((weights[n:] + weights[:-n]) / 2).sum(-1)
            found = (mixed - (entropies[n:] + entropies[:-n]) / 2).sum(1).cpu()
            self.divergence += torch.diag(found, n) + torch.diag(found, -n)

    def rows_of_heads(self) -> tuple[HeadUse, ...]:
        """One row per head; empty if nothing was recorded."""
        if not self.rows:
            return ()
        heads = len(self.entropy)
        similarity = 1 - self.divergence / self.rows / math.log(2)
        similarity.fill_diagonal_(-1.0)
        found = []
        for n, (entropy, highest) in enumerate(zip(self.entropy.tolist(), self.max_entropy.tolist(), strict=True)):
            pair: tuple[float | None, int | None, float | None] = (None, None, None)
            if heads > 1:
                nearest = int(similarity[n].argmax())
                pair = (float((similarity[n].sum() + 1) / (heads - 1)), nearest + 1, float(similarity[n, nearest]))
            ratio = entropy / highest if highest > 0 else 0.0
            found.append(HeadUse(self.name, n + 1, heads, self.choices, entropy / self.rows, ratio, *pair))
        return tuple(found)
