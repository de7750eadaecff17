"""What the order of the stages is worth: what every definition agrees on, and what not."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.reporting.page import Table
from effscope.results import OTHER_MODEL, OTHER_THRESHOLD, SHAPES, OrderVariant, RankResult

MOST_SAID = 12
ALIKE = 0.8
"""Kendall's tau from which two orders are nearly the same."""


def order_notes(result: RankResult) -> list[str]:
    """The order to try, what is sure of it, and what is not; nothing to try for untrained weights."""
    if not result.order:
        return ["no stage can be ranked"]
    if result.definition.weights == "random":
        return []
    return [f"order to try: {in_words(result.order, result.ties)}", *_agreement(result), *_shapes(result)]


def _agreement(result: RankResult) -> list[str]:
    """Which stages are in the lower half by every definition."""
    tried = [variant for variant in result.stability if variant.is_definition]
    if not tried or len(result.order) < 2:  # noqa: PLR2004 - one stage has no order
        return []
    by = f"every definition tried ({', '.join(_spans(tried))})"
    if not result.unsettled:
        return [f"sure: {by} gives this order"]
    n = len(result.order) // 2
    own = OrderVariant("", result.order, result.ties).lowest(n)
    low = own.intersection(*(variant.lowest(n) for variant in tried))
    sure = [str(stage) for stage in result.order if stage in low]
    if not sure:
        return [f"not sure: no stage is in the lower half by {by}"]
    which = f"stage {sure[0]} is" if len(sure) == 1 else f"stages {shortened(sure, ', ')} are"
    return [
        f"sure: {which} in the lower half by {by}",
        "not sure: the order of the other stages; it changes with the definition",
    ]


def _spans(tried: Sequence[OrderVariant]) -> list[str]:
    """The definitions in words, all thresholds as one."""
    levels = [float(v.name.removeprefix(OTHER_THRESHOLD)) for v in tried if v.name.startswith(OTHER_THRESHOLD)]
    spans = [f"thresholds {min(levels):g} to {max(levels):g}"] if levels else []
    return spans + [variant.name for variant in tried if not variant.name.startswith(OTHER_THRESHOLD)]


def _shapes(result: RankResult) -> list[str]:
    """A warning if the shapes alone give nearly the same order."""
    tau = next((variant.tau for variant in result.stability if variant.name == SHAPES), None)
    if tau is None or tau < ALIKE:
        return []
    return [
        f"caution: the shapes alone give nearly this order (random matrices: Kendall tau {tau:.2f} of 1); what the "
        "training did is how far each ratio is below random"
    ]


def orders_table(result: RankResult) -> Table | None:
    """The order by every other definition, and how near it is; None if there is none."""
    rows = tuple(
        (
            variant.name.removeprefix(OTHER_MODEL) if variant.name.startswith(OTHER_MODEL) else variant.name,
            "-" if variant.tau is None else f"{variant.tau:.2f}",
            in_words(variant.order, variant.ties),
        )
        for variant in result.stability
    )
    if not rows:
        return None
    notes = (
        "tau: Kendall's tau-b against the order of the first table; 1 is the same order, 0 is no relation",
        f"{SHAPES}: a high tau says that the shapes alone explain the order",
    )
    return Table(
        "the order by other definitions",
        ("definition", "tau", "order"),
        rows,
        frozenset({"definition", "order"}),
        notes,
    )


def in_words(order: Sequence[int], ties: Sequence[Sequence[int]]) -> str:
    """8, 4, 7, 1 = 3, 2; of a long order the first stages."""
    follows = {stage for group in ties for stage in group[1:]}
    shown = order[:MOST_SAID]
    text = "".join(("" if not n else " = " if stage in follows else ", ") + str(stage) for n, stage in enumerate(shown))
    return text + (f", ... ({len(order)} in all)" if len(order) > len(shown) else "")


def shortened(words: Sequence[str], between: str) -> str:
    """The first words, and dots if there are more."""
    return between.join(words[:MOST_SAID]) + (f"{between}..." if len(words) > MOST_SAID else "")
