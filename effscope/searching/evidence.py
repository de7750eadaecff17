"""What the runs of a base and of a candidate say about their difference in AP. Pure arithmetic; AP in fractions.

Two kinds of noise: a training with another seed ends with another AP (run noise), and other validation images give
another AP (image noise). Run noise is estimated from the spread within each arm, over all arms of a search together.
Image noise is estimated on the difference of both means, with the same images on both sides (`detect/jackknife`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from statistics import fmean, variance

from scipy.special import stdtr, stdtrit

from effscope.detect.jackknife import jackknife_variance

POWER = 0.8
"""Probability with which a harmless change should be accepted, where needed runs are computed."""

MANY = 1e6
"""Degrees of freedom at which Student's t is the normal distribution."""


@dataclass(frozen=True)
class Run:
    """One run: its AP, and its AP without each group of validation images in turn (empty if unknown)."""

    ap: float
    left_out: tuple[float, ...] = ()


Arm = tuple[Run, ...]
"""Runs of the same model with different seeds."""


@dataclass(frozen=True)
class Evidence:
    """The runs that decide about a candidate.

    Attributes:
        base, candidate: the two arms that are compared; their `left_out` are over the same groups of images.
        others: arms of other candidates; they only tell how large run noise is.
    """

    base: Arm
    candidate: Arm
    others: tuple[Arm, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A difference in AP and how sure it is.

    Attributes:
        delta: mean AP of the candidate minus mean AP of the base.
        run_variance: variance of the AP of one run; None if no arm has two runs.
        image_variance: variance of `delta` over the choice of images; 0 if it is unknown.
        variance: variance of `delta`, both noises together.
        df: its degrees of freedom.
    """

    delta: float
    run_variance: float | None
    image_variance: float
    variance: float
    df: float

    def bound(self, confidence: float) -> float:
        """The value that the true difference is below with this confidence (one-sided, Student's t)."""
        if self.variance == 0:
            return self.delta
        return self.delta + float(stdtrit(self.df, confidence)) * sqrt(self.variance)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Both one-sided bounds of confidence 1 - `alpha`."""
        return self.bound(alpha), self.bound(1 - alpha)

    def p_value(self, margin: float) -> float:
        """Probability of so high a `delta`, or a higher one, if the candidate cost exactly the margin."""
        room = self.delta + margin
        if self.variance == 0:
            return float(room <= 0)
        return float(stdtr(self.df, -room / sqrt(self.variance)))


def estimate(evidence: Evidence) -> Estimate:
    """The difference between candidate and base.

    Run noise counts as the larger one of two variances: from all arms together, and from these two arms alone (Welch,
    Biometrika 1947). If an arm is noisier than the others, the first alone is too small (experiments/rule). Degrees of
    freedom by Satterthwaite (Biometrics 1946); the smaller ones count.
    """
    base, candidate = evidence.base, evidence.candidate
    delta = mean_ap(candidate) - mean_ap(base)
    run, run_df = pooled_variance((base, candidate, *evidence.others))
    between = (run or 0.0) * (1 / len(base) + 1 / len(candidate))
    if min(len(base), len(candidate)) > 1:
        own = [(variance(run.ap for run in arm) / len(arm), len(arm) - 1) for arm in (base, candidate)]
        between, run_df = max(between, sum(part for part, _ in own)), min(run_df, _df(own))
    images, images_df = _image_variance(candidate, base)
    return Estimate(delta, run, images, between + images, _df(((between, run_df), (images, images_df))))


def pooled_variance(arms: Iterable[Arm]) -> tuple[float | None, float]:
    """Variance of one run's AP within arms, and its degrees of freedom; None if no arm has two runs."""
    squares, df = 0.0, 0
    for arm in (arm for arm in arms if len(arm) > 1):
        middle = mean_ap(arm)
        squares += sum((run.ap - middle) ** 2 for run in arm)
        df += len(arm) - 1
    return (squares / df if df else None), df


def _df(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances with their own."""
    known = [(variance, df) for variance, df in parts if variance > 0]
    if not known:
        return inf
    return sum(variance for variance, _ in known) ** 2 / sum(variance**2 / df for variance, df in known)


def mean_ap(arm: Arm) -> float:
    """Mean AP of an arm."""
    return fmean(run.ap for run in arm)


def _image_variance(candidate: Arm, base: Arm) -> tuple[float, int]:
    """Variance of the difference between two mean APs over the choice of images, and its degrees of freedom.

    Both are 0 if a run does not have its AP without each group of images.
    """
    if not all(run.left_out for run in (*candidate, *base)):
        return 0.0, 0
    mean_of = [
        [fmean(group) for group in zip(*(run.left_out for run in arm), strict=True)] for arm in (candidate, base)
    ]
    differences = [a - b for a, b in zip(*mean_of, strict=True)]
    return jackknife_variance(differences), len(differences) - 1


def resolvable(base: Arm, others: Sequence[Arm], runs: int, alpha: float) -> float | None:
    """The smallest margin at which a harmless change is accepted with probability `POWER`; None for less than two runs.

    Image noise is that of the difference between two runs of the base, so it is at least this much.

    Args:
        base, others: the runs so far.
        runs: runs of base and candidate.
        alpha: one-sided error of the last look.
    """
    run, _ = pooled_variance((base, *others))
    if run is None:
        return None
    images, _ = _image_variance(base[1:2], base[:1])
    return _reach(alpha, 2 * (runs - 1)) * sqrt(2 * run / runs + images)


def settled_by(found: Estimate, margin: float, alpha: float) -> str:
    """What would decide an undecided case, in words, if the difference stays as it is."""
    room, run = margin + found.delta, found.run_variance or 0.0
    if room <= 0:
        return "the loss itself is about the margin, so more runs or images alone may not settle it"
    wanted = (room / _reach(alpha)) ** 2
    if found.image_variance < wanted / 2:
        return f"{_runs(2 * run / (wanted - found.image_variance))} would settle it"
    if found.variance - found.image_variance < wanted / 2:
        times = found.image_variance / (wanted - found.variance + found.image_variance)
        return f"{times:.1f} times the validation images would settle it"
    times = found.image_variance / (wanted / 2)
    return f"{times:.1f} times the validation images and {_runs(4 * run / wanted)} would settle it"


def _runs(n: float) -> str:
    return f"{max(ceil(n), 2)} runs of each"


def _reach(alpha: float, df: float = MANY) -> float:
    """Standard errors between a true difference of zero and a margin at which `POWER` of such changes are accepted."""
    return float(stdtrit(df, 1 - alpha) + stdtrit(df, POWER))
