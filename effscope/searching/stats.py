"""When a swap is accepted: rules as pure functions of the runs. AP in fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from effscope.results import ACCEPTED, REJECTED

ROUNDING = 1e-9
"""A drop of exactly the margin is within it, whatever floating point makes of the difference."""


@dataclass(frozen=True)
class Judgement:
    """A verdict on one candidate. `ci` is the interval of `delta`, None for rules that have none."""

    delta: float
    verdict: str
    ci: tuple[float, float] | None = None


Rule = Callable[[Sequence[float], Sequence[float], float], Judgement]


def margin_rule(candidate: Sequence[float], base: Sequence[float], margin: float) -> Judgement:
    """Accept while the mean AP is at least the base's mean minus the margin."""
    delta = mean(candidate) - mean(base)
    return Judgement(delta, ACCEPTED if delta >= -margin - ROUNDING else REJECTED)


def paper_rule(candidate: Sequence[float], base: Sequence[float], margin: float) -> Judgement:
    """Accept while AP does not fall below the base's, whatever the margin (YOLOv10, arXiv 2405.14458, algorithm 1).

    With noisy runs it takes on average 1.83 of 8 harmless swaps (REFERENCE section 4).
    """
    return margin_rule(candidate, base, 0.0)


RULES: dict[str, Rule] = {"margin": margin_rule, "paper": paper_rule}
"""Rule name -> (candidate runs, base runs, margin) -> Judgement."""
