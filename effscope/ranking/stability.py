"""Stability of an order of stages: the orders by other definitions and in other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count

from effscope.ranking.order import Ratios, kendall_tau, ordered, ties, unsettled
from effscope.results import OTHER_MODEL, RELATIVE, SHAPES, OrderVariant, RankResult
from effscope.thresholds import Threshold

LEAST_NULL = 0.02
"""Smallest null ratio to divide by: smaller ratios are at most one value, by chance."""

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Thresholds, as ratios of the largest value: the order is compared with the order for each of them."""


def other_thresholds(threshold: Threshold) -> tuple[Threshold, ...]:
    """The other thresholds to compare with the threshold of a result."""
    return tuple(t for t in (Threshold("ratio", level) for level in LEVELS) if t != threshold)


def with_stability(result: RankResult, variants: Mapping[str, Ratios]) -> RankResult:
    """Fill in the order, the ties, the orders by other definitions, and the groups of stages with an unsettled order.

    Two more orders show the effect of the shapes and do not count for unsettled groups: the order of Gaussian matrices
    of the same shapes (a high tau means that the shapes explain the order), and the order by ratio / null ratio.

    Args:
        result: a result with rows.
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
    """Make model names unique: equal names are replaced by the user's arguments, with a number if these are equal too.

    Args:
        results: results of several models.
        given: the user's argument for each model, e.g. a path.
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
    """Add to each result the orders of the other models that have layers with the same names."""
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
            found.append(_variant(f"{OTHER_MODEL}{other.model}", own, shared))
    return tuple(found)


def _variant(name: str, own: Ratios, ratios: Ratios) -> OrderVariant:
    return OrderVariant(name, ordered(ratios), ties(ratios), kendall_tau(own, ratios))
