"""How far an order of stages can be trusted: what other definitions and other models make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from effscope.ranking.order import Ratios, kendall_tau, ordered, ties, unsettled
from effscope.ranking.thresholds import Threshold
from effscope.results import OrderVariant, RankResult

SHAPES = "random matrices of these shapes"
"""Name of the order the shapes alone give."""

RELATIVE = "ratio over random"
"""Name of the order by ratio / null ratio."""

LEAST_NULL = 0.02
"""Below this the random reference is a value or none by chance, nothing to divide by."""

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
    orders = {**variants, **({SHAPES: null} if null else {})}
    if null and min(null.values()) >= LEAST_NULL:
        orders[RELATIVE] = {stage: own[stage] / expected for stage, expected in null.items()}
    return replace(
        result,
        order=ordered(own),
        ties=ties(own),
        unsettled=unsettled(own, list(variants.values())),
        stability=tuple(_variant(name, own, ratios) for name, ratios in orders.items()),
    )


def named_apart(results: Sequence[RankResult], given: Sequence[str]) -> tuple[RankResult, ...]:
    """Results whose models all have names of their own: as they were given where two have one, with a number where
    that does not help."""
    names = [result.model for result in results]
    wanted = [text if names.count(name) > 1 else name for name, text in zip(names, given, strict=True)]
    found: list[RankResult] = []
    for result, name in zip(results, wanted, strict=True):
        numbered = (f"{name} ({n})" for n in count(2))
        taken = {other.model for other in found}
        found.append(replace(result, model=name if name not in taken else next(x for x in numbered if x not in taken)))
    return tuple(found)


def across(results: Sequence[RankResult]) -> tuple[RankResult, ...]:
    """Results of several models, each with the orders of the others it shares layers with."""
    return tuple(
        replace(result, stability=(*result.stability, *_others(result, [*results[:n], *results[n + 1 :]])))
        for n, result in enumerate(results)
    )


def _others(result: RankResult, others: Sequence[RankResult]) -> tuple[OrderVariant, ...]:
    own, found = result.ratios(), []
    for other in others:
        same = result.same_layers(other)
        shared = {stage: ratio for stage, ratio in other.ratios().items() if stage in same}
        if len(set(shared) & set(own)) > 1:
            found.append(_variant(f"model {other.model}", own, shared))
    return tuple(found)


def _variant(name: str, own: Ratios, ratios: Ratios) -> OrderVariant:
    return OrderVariant(name, ordered(ratios), ties(ratios), kendall_tau(own, ratios))
