"""Redundancy of attention heads over real images: how evenly each one looks, and how alike two of them look.

Source: Clark et al., arXiv 1906.04341: entropy of a head's attention, Jensen-Shannon divergence between heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.nn.tensor_ops import Attention, Float32Softmax, ScaledAttention, SelfAttention
from effscope.results import HeadUse
from effscope.spec.graph import Graph

MAP = 4
ROWS_AT_ONCE = 1 << 22
"""Attention weights that are compared at once."""


def _of_maps(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(part, Attention)
    return part.weights(given[0].float(), given[1].float())


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
    return logits.softmax(-1)


def _of_multihead(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    assert isinstance(part, SelfAttention)
    c, heads = part.embed_dim, part.num_heads
    weight, bias = part.in_proj_weight, part.in_proj_bias
    rows = [F.linear(x, weight[n * c : (n + 1) * c], bias[n * c : (n + 1) * c]) for n, x in enumerate(given[:2])]
    q, k = (x.reshape(*x.shape[:2], heads, c // heads).transpose(1, 2) for x in rows)
    return torch.softmax(q @ k.transpose(-2, -1) * (c // heads) ** -0.5, -1)


def _of_softmax(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return out.float() if out.dim() >= MAP else out.float()[None]


WEIGHTS: dict[str, Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]] = {
    "attention": _of_maps,
    "sdpa": _of_tokens,
    "mha": _of_multihead,
    "softmax": _of_softmax,
}
"""Primitive -> its attention weights (B, heads, ..., positions, choices) from what it was called with."""

PASSES_ON = frozenset({"view", "opaque", "item", "elementwise", "transpose"})
"""What may stand between a softmax and the product it weighs: dropout, a change of shape."""


def attention_nodes(graph: Graph) -> dict[str, str]:
    """Name -> primitive of what attends: attention itself, and softmaxes that weigh the second factor of a product."""
    nodes = graph.by_name()
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node.name)

    def weighs(name: str) -> bool:
        return any(
            (nodes[r].op == "matmul" and nodes[r].inputs[0] == name) or (nodes[r].op in PASSES_ON and weighs(r))
            for r in readers.get(name, ())
        )

    return {
        n.name: n.op for n in graph.nodes
        if n.op in ("attention", "sdpa", "mha") or (n.op == "softmax" and weighs(n.name))
    }  # fmt: skip


class Heads:
    """A forward hook that adds up entropies and divergences of the heads of one attention; no map is kept."""

    def __init__(self, name: str, op: str) -> None:
        self.name, self.op = name, op
        self.rows = self.choices = 0
        self.entropy = self.divergence = torch.zeros(0, dtype=torch.float64)

    def __call__(self, part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(part, Float32Softmax) and part.dim % out.dim() != out.dim() - 1:
            return
        weights = WEIGHTS[self.op](part, given, out)
        weights = weights.transpose(0, 1).flatten(1, -2)  # (heads, rows, choices)
        heads, rows, self.choices = weights.shape
        if not self.rows:
            self.entropy = torch.zeros(heads, dtype=torch.float64)
            self.divergence = torch.zeros(heads, heads, dtype=torch.float64)
        for part_of in torch.split(weights, max(1, ROWS_AT_ONCE // (heads * self.choices)), 1):
            self._add(part_of.double())
        self.rows += rows

    def _add(self, weights: Tensor) -> None:
        entropies = torch.special.entr(weights).sum(-1)
        self.entropy += entropies.sum(1).cpu()
        for n in range(1, len(weights)):
            mixed = torch.special.entr((weights[n:] + weights[:-n]) / 2).sum(-1)
            found = (mixed - (entropies[n:] + entropies[:-n]) / 2).sum(1).cpu()
            self.divergence += torch.diag(found, n) + torch.diag(found, -n)

    def uses(self) -> tuple[HeadUse, ...]:
        """One row per head; none if nothing came by."""
        if not self.rows:
            return ()
        heads, most = len(self.entropy), math.log(self.choices) if self.choices > 1 else 1.0
        alike = 1 - self.divergence / self.rows / math.log(2)
        alike.fill_diagonal_(-1.0)
        found = []
        for n, entropy in enumerate((self.entropy / self.rows).tolist()):
            pair: tuple[float | None, int | None, float | None] = (None, None, None)
            if heads > 1:
                nearest = int(alike[n].argmax())
                pair = (float((alike[n].sum() + 1) / (heads - 1)), nearest + 1, float(alike[n, nearest]))
            found.append(HeadUse(self.name, n + 1, heads, self.choices, entropy, entropy / most, *pair))
        return tuple(found)
