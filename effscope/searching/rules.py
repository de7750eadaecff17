"""Rules that accept a change: pure functions of the runs of base and candidate. AP and margin are fractions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effscope.results import ACCEPTED, INCONCLUSIVE, REJECTED
from effscope.searching.evidence import Arm, Estimate, Evidence, independent, mean_ap, paired, resolvable, settled_by

ROUNDING = 1e-9
"""Tolerance for rounding, so that a drop of exactly the margin is accepted."""

LOOKS = (2, 3, 5)
"""Numbers of runs of a candidate after which `noninferior` decides."""

ALPHAS = {1: (0.05,), 2: (0.003, 0.045), 3: (0.001, 0.007, 0.039)}
"""Number of looks -> one-sided error of each look, so that all together err with probability .05 at most.

After few runs their noise is hardly known, so early looks get little; and the sum is below .05 because the noise of one
candidate may be twice that of the others. Source: Lan and DeMets, Biometrika 1983; simulated in experiments/rule.
"""

COMPARED = 0.025
"""One-sided error of each end of a 95 % interval."""

FUTILE = 0.9
"""Confidence that AP falls, at which a candidate with a loss above the margin is rejected without more runs."""


@dataclass(frozen=True)
class Terms:
    """What a user accepts: a loss of AP below `margin`, after at most `runs` runs of a candidate.

    `tries` is the number of candidates that may follow a rejected one: each gets its share of the error.
    """

    margin: float
    runs: int = LOOKS[-1]
    tries: int = 1

    @property
    def alphas(self) -> tuple[float, ...]:
        """One-sided error of each look of `noninferior`."""
        looks = RULES["noninferior"].looks_within(self.runs)
        return tuple(alpha / self.tries for alpha in ALPHAS[len(looks)])


@dataclass(frozen=True)
class Verdict:
    """A rule's answer.

    Attributes:
        word: "accepted", "rejected" or "inconclusive".
        delta: mean AP of the candidate minus mean AP of the base.
        ci: confidence interval of `delta`; None if the rule has none.
        note: one sentence for the user; empty if the rule has none.
    """

    word: str
    delta: float
    ci: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class MoreRuns:
    """The answer of a rule that cannot judge yet: the candidate needs `n` runs in total."""

    n: int


Decide = Callable[[Evidence, Terms], Verdict | MoreRuns]


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        looks: numbers of runs of a candidate after which it may decide, as far as `Terms.runs` allows.
        decide: the function that decides.
    """

    looks: tuple[int, ...]
    decide: Decide

    def looks_within(self, runs: int) -> tuple[int, ...]:
        """The looks of at most `runs` runs; the first one in any case."""
        return tuple(n for n in self.looks if n <= runs) or self.looks[:1]

    def most_runs(self, runs: int) -> int:
        """Number of runs of a candidate, and of the base, at the last look."""
        return self.looks_within(runs)[-1]


def margin_rule(evidence: Evidence, terms: Terms) -> Verdict:
    """Accept if the mean AP is at least the mean AP of the base minus the margin."""
    delta = mean_ap(evidence.candidate) - mean_ap(evidence.base)
    return Verdict(ACCEPTED if delta >= -terms.margin - ROUNDING else REJECTED, delta)


def paper_rule(evidence: Evidence, _: Terms) -> Verdict:
    """Accept if AP is not below that of the base; ignores the margin (YOLOv10, arXiv 2405.14458, algorithm 1).

    With noisy runs it accepts on average 1.83 of 8 harmless changes: k accepted changes in a row have probability
    1 / (k + 1) at any noise level.
    """
    return margin_rule(evidence, Terms(0.0))


def noninferior(evidence: Evidence, terms: Terms) -> Verdict | MoreRuns:
    """Accept if the loss is below the margin with 95 % confidence; look after 2, 3 and 5 runs of both.

    The n-th runs of base and candidate have the same seed.

    A search that tries changes in an order that was fixed before and stops at the first one that is not accepted errs
    with probability .05 as a whole, however many changes it tries. A search that goes on after a rejection shares .05
    among its candidates (`Terms.tries`; Bonferroni).
    """
    looks = RULES["noninferior"].looks_within(terms.runs)
    n = len(evidence.candidate)
    done, later = sum(look <= n for look in looks), [look for look in looks if look > n]
    runs = f"{_count(n)} each"
    verdict = _judged(paired(evidence), terms.margin, terms.alphas[max(done, 1) - 1], runs)
    return MoreRuns(later[0]) if later and verdict.word == INCONCLUSIVE else verdict


def compared(base: Arm, candidate: Arm, margin: float) -> tuple[Verdict, Estimate]:
    """The verdict on two detectors that were scored once, with a 95 % interval."""
    found = independent(base, candidate)
    return _judged(found, margin, COMPARED, f"{_count(len(candidate))} against {len(base)}"), found


def _judged(found: Estimate, margin: float, alpha: float, runs: str) -> Verdict:
    """The verdict on the runs so far; the interval is below each of its ends with confidence 1 - `alpha`."""
    low, high = found.interval(alpha)
    if low > -margin:
        word, said = ACCEPTED, f"the loss is below the margin of {100 * margin:g}"
    elif found.delta < -margin and found.bound(FUTILE) < 0:
        word, said = REJECTED, f"AP falls, most likely by more than the margin of {100 * margin:g}"
    else:
        word = INCONCLUSIVE
        said = f"the loss may be below or above the margin of {100 * margin:g}; {settled_by(found, margin, alpha)}"
    values = f"{_points(found.delta)} points, between {_points(low)} and {_points(high)}"
    return Verdict(word, found.delta, (low, high), f"{values}, {runs}: {said}")


def _count(runs: int) -> str:
    return f"{runs} run{'s' * (runs != 1)}"


def _points(ap: float) -> str:
    """AP points with a sign; zero has none."""
    text = f"{100 * ap:+.1f}"
    return "0.0" if float(text) == 0 else text


RULES: dict[str, Rule] = {
    "noninferior": Rule(LOOKS, noninferior),
    "margin": Rule((1,), margin_rule),
    "paper": Rule((1,), paper_rule),
}
"""Name of a rule -> Rule."""


def smallest_margin(rule: str, base: Arm, others: tuple[Arm, ...], terms: Terms) -> float | None:
    """The loss that this rule can tell from none with these runs; None if it is unknown or the rule has no interval."""
    if rule != "noninferior":
        return None
    return resolvable(base, others, RULES[rule].most_runs(terms.runs), terms.alphas[-1])
