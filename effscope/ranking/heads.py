"""Redundancy of attention heads over real images: how evenly each one looks, and how alike two of them look.

Source: Clark et al., arXiv 1906.04341: entropy of a head's attention, Jensen-Shannon divergence between heads.
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

MATRICES = 3
ROWS_AT_ONCE = 1 << 22
"""Attention weights that are compared at once."""
ALLOWED = 1e-30
"""Weights below this are masked: the head could not look there."""


def _of_maps(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(part, Attention)
    return part.weights(given[0].float(), given[1].float()).transpose(0, 1)


def _of_tokens(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(part, ScaledAttention)
    q, k = given[0].float(), given[1].float()
    scale = part.scale if part.scale is not None else q.shape[-1] ** -0.5
    logits = q @ k.transpose(-2, -1) * scale
    if part.causal:
        logits = logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).triu(1), -math.inf)
    if len(given) > 3:  # noqa: PLR2004 - a mask stands fourth
        mask = given[3]
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
    return _heads_first(logits.softmax(-1))


def _of_multihead(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(part, SelfAttention)
    c, heads = part.embed_dim, part.num_heads
    weight, bias = part.in_proj_weight, part.in_proj_bias
    rows = [F.linear(x, weight[n * c : (n + 1) * c], bias[n * c : (n + 1) * c]) for n, x in enumerate(given[:2])]
    q, k = (x.reshape(*x.shape[:2], heads, c // heads).transpose(1, 2) for x in rows)
    return _heads_first(torch.softmax(q @ k.transpose(-2, -1) * (c // heads) ** -0.5, -1))


def _heads_first(weights: Tensor) -> Tensor:
    """(..., heads, positions, choices), of one image where no more is said, as (heads, ..., positions, choices)."""
    return weights.float().movedim(-3, 0)


WEIGHTS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]] = {
    "attention": _of_maps,
    "sdpa": _of_tokens,
    "mha": _of_multihead,
    "softmax": lambda part, given, out: _heads_first(out),
}
"""Primitive -> its attention weights (heads, ..., positions, choices) from what it was called with."""

PASSES_ON = frozenset({"view", "copy", "opaque", "item", "elementwise", "transpose"})
"""What may stand between a softmax and the product it weighs: dropout, a change of shape."""


def attention_nodes(graph: Graph) -> dict[str, str]:
    """Name -> primitive of what attends: attention itself, and softmaxes that weigh the other factor of a product."""
    nodes = graph.by_name()
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node.name)

    def weighs(name: str) -> bool:
        return any(nodes[r].op == "matmul" or (nodes[r].op in PASSES_ON and weighs(r)) for r in readers.get(name, ()))

    return {
        n.name: n.op for n in graph.nodes
        if n.op in ("attention", "sdpa", "mha") or (n.op == "softmax" and weighs(n.name))
    }  # fmt: skip


class Heads:
    """A forward hook that adds up entropies and divergences of the heads of one attention; no map is kept."""

    def __init__(self, name: str, op: str) -> None:
        self.name, self.op = name, op
        self.rows = self.choices = 0
        self.entropy = self.most = self.divergence = torch.zeros(0, dtype=torch.float64)

    def __call__(self, part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        over_last = not isinstance(part, Float32Softmax) or part.dim % out.dim() == out.dim() - 1
        if not over_last or (self.op == "softmax" and out.dim() < MATRICES):
            return
        weights = WEIGHTS[self.op](part, given, out).flatten(1, -2)
        heads, rows, self.choices = weights.shape
        if not self.rows:
            self.entropy, self.most = torch.zeros(2, heads, dtype=torch.float64)
            self.divergence = torch.zeros(heads, heads, dtype=torch.float64)
        for some in torch.split(weights, max(1, ROWS_AT_ONCE // (heads * self.choices)), 1):
            self._add(some.double())
        self.rows += rows

    def _add(self, weights: Tensor) -> None:
        entropies = torch.special.entr(weights).sum(-1)
        self.entropy += entropies.sum(1).cpu()
        self.most += (weights > ALLOWED).sum(-1).double().log().sum(1).cpu()
        for n in range(1, len(weights)):
            mixed = torch.special.entr((weights[n:] + weights[:-n]) / 2).sum(-1)
            found = (mixed - (entropies[n:] + entropies[:-n]) / 2).sum(1).cpu()
            self.divergence += torch.diag(found, n) + torch.diag(found, -n)

    def uses(self) -> tuple[HeadUse, ...]:
        """One row per head; none if nothing came by."""
        if not self.rows:
            return ()
        heads = len(self.entropy)
        alike = 1 - self.divergence / self.rows / math.log(2)
        alike.fill_diagonal_(-1.0)
        found = []
        for n, (entropy, most) in enumerate(zip(self.entropy.tolist(), self.most.tolist(), strict=True)):
            pair: tuple[float | None, int | None, float | None] = (None, None, None)
            if heads > 1:
                nearest = int(alike[n].argmax())
                pair = (float((alike[n].sum() + 1) / (heads - 1)), nearest + 1, float(alike[n, nearest]))
            ratio = entropy / most if most > 0 else 0.0
            found.append(HeadUse(self.name, n + 1, heads, self.choices, entropy / self.rows, ratio, *pair))
        return tuple(found)
