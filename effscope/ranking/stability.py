"""How far an order of stages can be trusted: what other definitions and other models make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from effscope.ranking.order import Ratios, kendall_tau, ordered, ties, unsettled
from effscope.ranking.thresholds import Threshold
from effscope.results import OrderVariant, RankResult

SHAPES = "random matrices of these shapes"
"""Name of the order the shapes alone give."""

RELATIVE = "ratio over random"
"""Name of the order by ratio / null ratio."""

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the largest value an order is compared over."""


def thresholds_beside(threshold: Threshold) -> tuple[Threshold, ...]:
    """The thresholds a result's own is compared with."""
    return tuple(t for t in (Threshold("ratio", level) for level in LEVELS) if t != threshold)


def settled(result: RankResult, variants: Mapping[str, Ratios]) -> RankResult:
    """The result with its order, its ties, the orders of other definitions and the stages they turn round.

    The last two orders concern the shapes and turn nothing round: that of Gaussian matrices of the same shapes, whose
    tau says how far the shapes alone give this order, and that of the ratios over theirs.

    Args:
        result: with its rows.
        variants: name of a definition -> stage -> ratio by it.
    """
    own = result.ratios()
    null = {row.stage: row.null_ratio for row in result.stages if row.null_ratio is not None}
    over = {stage: own[stage] / expected for stage, expected in null.items() if expected > 0}
    orders = {**variants, **({SHAPES: null, RELATIVE: over} if null else {})}
    return replace(
        result,
        order=ordered(own),
        ties=ties(own),
        unsettled=unsettled(own, list(variants.values())),
        stability=tuple(_variant(name, own, ratios) for name, ratios in orders.items()),
    )


def labels(results: Sequence[RankResult]) -> list[str]:
    """Names of models, told apart by their place where two have one name."""
    names = [result.model for result in results]
    return [f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names, 1)]


def across(results: Sequence[RankResult]) -> tuple[RankResult, ...]:
    """Results of several models, each with the orders of the others it shares layers with."""
    named = list(zip(labels(results), results, strict=True))
    return tuple(
        replace(result, stability=(*result.stability, *_others(result, [*named[:n], *named[n + 1 :]])))
        for n, result in enumerate(results)
    )


def _others(result: RankResult, others: Sequence[tuple[str, RankResult]]) -> tuple[OrderVariant, ...]:
    own, layers = result.ratios(), {row.stage: row.layer for row in result.stages}
    found = []
    for name, other in others:
        same = {row.stage for row in other.stages if layers.get(row.stage) == row.layer}
        shared = {stage: ratio for stage, ratio in other.ratios().items() if stage in same}
        if len(set(shared) & set(own)) > 1:
            found.append(_variant(f"model {name}", own, shared))
    return tuple(found)


def _variant(name: str, own: Ratios, ratios: Ratios) -> OrderVariant:
    return OrderVariant(name, ordered(ratios), ties(ratios), kendall_tau(own, ratios))
