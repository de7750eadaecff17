"""How far an order of stages holds: the orders that other definitions and other models give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from effscope.ranking.order import Ratios, kendall_tau, ordered, ties, unsettled
from effscope.results import OrderVariant, RankResult
from effscope.thresholds import Threshold

SHAPES = "random matrices of these shapes"
"""Name of the order that the shapes alone give."""

RELATIVE = "ratio over random"
"""Name of the order by ratio / null ratio."""

LEAST_NULL = 0.02
"""Smallest null ratio to divide by: smaller ones are one value or none, by chance."""

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Ratios of the largest value: the order is compared with the order that each of them gives."""


def other_thresholds(threshold: Threshold) -> tuple[Threshold, ...]:
    """The thresholds that the threshold of a result is compared with."""
    return tuple(t for t in (Threshold("ratio", level) for level in LEVELS) if t != threshold)


def with_stability(result: RankResult, variants: Mapping[str, Ratios]) -> RankResult:
    """The result with its order, its ties, the orders of other definitions and the stages that these reverse.

    Two more orders are about the shapes, and reverse nothing: the order of Gaussian matrices of the same shapes (its
    tau says how far the shapes alone give this order), and the order by ratio / null ratio.

    Args:
        result: has its rows.
        variants: name of a definition -> stage -> its ratio by this definition.
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


def with_distinct_names(results: Sequence[RankResult], given: Sequence[str]) -> tuple[RankResult, ...]:
    """Results with a different model name each: equal names become what the user gave, and get a number if these are
    equal too.

    Args:
        results: of several models.
        given: what the user gave for each model, e.g. a path.
    """
    names = [result.model for result in results]
    wanted = [text if names.count(name) > 1 else name for name, text in zip(names, given, strict=True)]
    found: list[RankResult] = []
    for result, name in zip(results, wanted, strict=True):
        numbered = (f"{name} ({n})" for n in count(2))
        taken = {other.model for other in found}
        found.append(replace(result, model=name if name not in taken else next(x for x in numbered if x not in taken)))
    return tuple(found)


def with_other_models(results: Sequence[RankResult]) -> tuple[RankResult, ...]:
    """Results of several models, each with the orders of the other models that have layers of the same names."""
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
