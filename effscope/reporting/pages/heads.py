"""Attention heads of a model, as its ranking found them."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.reporting.page import Table
from effscope.results import HeadUse, RankResult


def heads_table(result: RankResult) -> Table:
    """Attention layers: entropy and similarity of their heads, and the most similar pair."""
    layers: dict[str, list[HeadUse]] = {}
    for use in result.attention:
        layers.setdefault(use.layer, []).append(use)
    notes = (
        "entropy: entropy of a head's attention weights / that of uniform attention; 1 is uniform",
        "alike: 1 - Jensen-Shannon divergence / ln 2 of two heads: mean over all pairs; most alike: the closest pair",
    )
    columns = ("layer", "heads", "positions", "entropy", "alike", "most alike")
    rows = tuple(_layer(name, uses) for name, uses in layers.items())
    return Table(f"{result.model}: attention heads, {result.definition.of}", columns, rows, frozenset({"layer"}), notes)


def _layer(name: str, uses: Sequence[HeadUse]) -> tuple[str, ...]:
    ratios = [use.entropy_ratio for use in uses]
    alike = [use.similarity for use in uses if use.similarity is not None]
    nearest = max(uses, key=lambda use: use.nearest_similarity or 0.0)
    return (
        name.rpartition(".")[0] or name,
        str(len(uses)),
        str(uses[0].positions),
        f"{min(ratios):.2f}-{max(ratios):.2f}",
        f"{sum(alike) / len(alike):.2f}" if alike else "-",
        f"{nearest.head}, {nearest.nearest}: {nearest.nearest_similarity:.2f}" if nearest.nearest else "-",
    )
