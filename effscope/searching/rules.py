"""Rules that accept a change: pure functions of the AP of runs. AP and margin are fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from effscope.results import ACCEPTED, REJECTED

ROUNDING = 1e-9
"""Tolerance for rounding, so that a drop of exactly the margin is accepted."""


@dataclass(frozen=True)
class Verdict:
    """A rule's answer.

    Attributes:
        word: "accepted", "rejected" or "inconclusive".
        delta: mean AP of the candidate minus mean AP of the base.
        ci: confidence interval of `delta`; None if the rule has none.
        note: one sentence for the user, e.g. how many runs an inconclusive case needs.
    """

    word: str
    delta: float
    ci: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class MoreRuns:
    """The answer of a rule that cannot judge yet: the candidate needs `n` runs in total."""

    n: int


Decide = Callable[[Sequence[float], Sequence[float], float], Verdict | MoreRuns]
"""(AP of the base's runs, AP of the candidate's runs, margin) -> answer."""


@dataclass(frozen=True)
class Rule:
    """Number of runs of base and candidate before the first decision, and the function that decides."""

    base_runs: int
    candidate_runs: int
    decide: Decide


def margin_rule(base: Sequence[float], candidate: Sequence[float], margin: float) -> Verdict:
    """Accept if the mean AP is at least the mean AP of the base minus the margin."""
    delta = mean(candidate) - mean(base)
    return Verdict(ACCEPTED if delta >= -margin - ROUNDING else REJECTED, delta)


def paper_rule(base: Sequence[float], candidate: Sequence[float], margin: float) -> Verdict:
    """Accept if AP is not below that of the base; ignores the margin (YOLOv10, arXiv 2405.14458, algorithm 1).

    With noisy runs it accepts on average 1.83 of 8 harmless changes: k accepted changes in a row have probability
    1 / (k + 1) at any noise level.
    """
    return margin_rule(base, candidate, 0.0)


RULES: dict[str, Rule] = {"margin": Rule(1, 1, margin_rule), "paper": Rule(1, 1, paper_rule)}
"""Name of a rule -> Rule."""
