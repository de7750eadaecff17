"""When a change is accepted: rules as pure functions of the runs. AP and margin in fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from effscope.results import ACCEPTED, REJECTED

ROUNDING = 1e-9
"""Room for rounding: a drop of exactly the margin is accepted."""


@dataclass(frozen=True)
class Verdict:
    """A rule's answer.

    Attributes:
        word: "accepted", "rejected" or "inconclusive".
        delta: mean AP of the candidate minus mean AP of the base.
        ci: interval of delta; None for a rule that has none.
        note: one sentence for the user, e.g. how many runs would settle an inconclusive answer.
    """

    word: str
    delta: float
    ci: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class MoreRuns:
    """A rule's answer before it can judge: the candidate needs `n` runs in all."""

    n: int


Decide = Callable[[Sequence[float], Sequence[float], float], Verdict | MoreRuns]
"""(AP of the base's runs, AP of the candidate's runs, margin) -> answer."""


@dataclass(frozen=True)
class Rule:
    """How often base and candidate run before the first answer, and the answer."""

    base_runs: int
    candidate_runs: int
    decide: Decide


def margin_rule(base: Sequence[float], candidate: Sequence[float], margin: float) -> Verdict:
    """Accept while the mean AP is at least the base's mean minus the margin."""
    delta = mean(candidate) - mean(base)
    return Verdict(ACCEPTED if delta >= -margin - ROUNDING else REJECTED, delta)


def paper_rule(base: Sequence[float], candidate: Sequence[float], margin: float) -> Verdict:
    """Accept while AP does not fall below the base's; the margin has no effect.

    Source: YOLOv10, arXiv 2405.14458, algorithm 1.
    With noisy runs it accepts on average 1.83 of 8 harmless changes: a row of k accepted ones has probability
    1 / (k + 1), at any level of noise.
    """
    return margin_rule(base, candidate, 0.0)


RULES: dict[str, Rule] = {"margin": Rule(1, 1, margin_rule), "paper": Rule(1, 1, paper_rule)}
"""Name of a rule -> Rule."""
