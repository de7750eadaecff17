"""What the runs of a base and of a candidate say about their difference in AP. Pure arithmetic; AP in fractions.

Two kinds of noise: a training with another seed ends with another AP (run noise), and other validation images give
another AP (image noise). In a search the n-th run of every model has the same seed, so the same batches: what a seed
does to all models cancels in the difference of n-th runs. Image noise is estimated on the difference of both means,
with the same images on both sides (`detect/jackknife`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import fmean

from scipy.special import stdtrit

from effscope.detect.jackknife import GROUPS, jackknife_variance

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
        run_variance: variance of `delta` over runs; 0 if it is unknown.
        run_df: its degrees of freedom.
        image_variance: variance of `delta` over the choice of images; 0 if it is unknown.
        one_run: variance of the difference between one run of each; None if no arm has two runs.
        groups: number of groups of images; its degrees of freedom are one less.
    """

    delta: float
    run_variance: float
    run_df: float
    image_variance: float
    one_run: float | None = None
    groups: int = GROUPS

    @property
    def variance(self) -> float:
        """Variance of `delta`, both noises together."""
        return self.run_variance + self.image_variance

    def bound(self, confidence: float) -> float:
        """The value that the true difference is below with this confidence, one-sided.

        Student's t for each noise, weighted with its variance (Cochran and Cox, Experimental Designs, 1957). The
        approximation by Satterthwaite errs with few runs and a little image noise (experiments/rule).
        """
        if self.variance == 0:
            return self.delta
        parts = ((self.run_variance, self.run_df), (self.image_variance, self.groups - 1))
        t = sum(part * float(stdtrit(df, confidence)) for part, df in parts if part > 0) / self.variance
        return self.delta + t * sqrt(self.variance)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Both one-sided bounds of confidence 1 - `alpha`."""
        return self.bound(alpha), self.bound(1 - alpha)


def paired(evidence: Evidence) -> Estimate:
    """The difference between candidate and base, whose n-th runs have the same seed.

    Run noise of a pair counts as the larger one of two variances: of these pairs, and of the pairs of all candidates.
    The first alone is unsure after two runs, the second alone too small if this candidate is noisier than the others
    (experiments/rule).

    Raises:
        ValueError: the base has fewer runs than the candidate.
    """
    base, candidate = evidence.base[: len(evidence.candidate)], evidence.candidate
    delta, images = mean_ap(candidate) - mean_ap(base), _image_variance(candidate, base)
    own, _ = pair_variance(base, (candidate,))
    pooled, df = pair_variance(evidence.base, (candidate, *evidence.others))
    if pooled is None:
        return Estimate(delta, 0.0, MANY, images, groups=_groups(base))
    one_run = max(pooled, own or 0.0)
    return Estimate(delta, one_run / len(candidate), df, images, one_run, _groups(base))


def independent(base: Arm, candidate: Arm) -> Estimate:
    """The difference between two arms whose seeds have nothing in common (Welch, Biometrika 1947)."""
    delta, images = mean_ap(candidate) - mean_ap(base), _image_variance(candidate, base)
    sizes = [len(base), len(candidate)]
    known = [_variance([run.ap for run in arm]) for arm in (base, candidate) if len(arm) > 1]
    if not known:
        return Estimate(delta, 0.0, MANY, images, groups=_groups(base))
    if len(known) == 1:  # a single run is taken to be as noisy as those of the other side
        return Estimate(
            delta, known[0] * sum(1 / n for n in sizes), max(sizes) - 1, images, 2 * known[0], _groups(base)
        )
    parts = [own / n for own, n in zip(known, sizes, strict=True)]
    squares = sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True))
    df = sum(parts) ** 2 / squares if squares else MANY
    return Estimate(delta, sum(parts), df, images, sum(known), _groups(base))


def against_fixed(fixed: Run, candidate: Arm) -> Estimate:
    """The difference between an arm and one detector that is as it is: training again is no noise of it."""
    delta, images = mean_ap(candidate) - fixed.ap, _image_variance(candidate, (fixed,))
    if len(candidate) < 2:  # noqa: PLR2004
        return Estimate(delta, 0.0, MANY, images, groups=_groups((fixed,)))
    one_run, n = _variance([run.ap for run in candidate]), len(candidate)
    return Estimate(delta, one_run / n, n - 1, images, one_run, _groups((fixed,)))


def pair_variance(base: Arm, arms: Iterable[Arm]) -> tuple[float | None, float]:
    """Variance of the difference between a run and the base's run with the same seed, and its degrees of freedom.

    Pooled over arms with two or more runs; None and 0 if there is none. All differences share the base's runs, so with
    equal noise those of two arms correlate by 1/2, and k arms have 1 / (1 + (k - 1) / 4) of the degrees of freedom of
    independent ones.
    """
    squares, df, k = 0.0, 0, 0
    for arm in (arm for arm in arms if len(arm) > 1):
        differences = [run.ap - other.ap for run, other in zip(arm, base[: len(arm)], strict=True)]
        squares += (len(arm) - 1) * _variance(differences)
        df, k = df + len(arm) - 1, k + 1
    return (squares / df, df / (1 + (k - 1) / 4)) if k else (None, 0.0)


def _variance(values: Sequence[float]) -> float:
    """Unbiased variance; `statistics.variance` computes in fractions, which simulations cannot wait for."""
    middle = fmean(values)
    return sum((value - middle) ** 2 for value in values) / (len(values) - 1)


def _groups(arm: Arm) -> int:
    return len(arm[0].left_out) or GROUPS


def mean_ap(arm: Arm) -> float:
    """Mean AP of an arm."""
    return fmean(run.ap for run in arm)


def _image_variance(candidate: Arm, base: Arm) -> float:
    """Variance of the difference between two mean APs over the choice of images.

    0 if a run does not have its AP without each group of images.
    """
    if not all(run.left_out for run in (*candidate, *base)):
        return 0.0
    mean_of = [
        [fmean(group) for group in zip(*(run.left_out for run in arm), strict=True)] for arm in (candidate, base)
    ]
    return jackknife_variance([a - b for a, b in zip(*mean_of, strict=True)])


def resolvable(base: Arm, others: Sequence[Arm], runs: int, alpha: float) -> float | None:
    """The smallest margin at which a harmless change is accepted with probability `POWER`; None for less than two runs.

    Before there is a candidate, the noise is that of two runs of the base with different seeds. Noise that runs with
    the same seed share is not known yet, so it counts.

    Args:
        base, others: the runs so far.
        runs: runs of the candidate.
        alpha: one-sided error of the last look.
    """
    if len(base) < 2:  # noqa: PLR2004
        return None
    known, df = pair_variance(base, others)
    one_run = 2 * _variance([run.ap for run in base]) if known is None else known
    images = [_image_variance(arm, base[: len(arm)]) for arm in others] or [_image_variance(base[1:2], base[:1])]
    found = Estimate(0.0, one_run / runs, df + runs - 1, fmean(images), groups=_groups(base))
    return found.bound(1 - alpha) + found.bound(POWER)


def settled_by(found: Estimate, margin: float, alpha: float) -> str:
    """What would decide an undecided case, in words, if the difference stays as it is."""
    room, one_run = margin + found.delta, found.one_run or 0.0
    if room <= 0:
        return "the loss itself is about the margin, so more runs or images alone may not settle it"
    wanted = (room / float(stdtrit(MANY, 1 - alpha) + stdtrit(MANY, POWER))) ** 2
    if found.image_variance < wanted / 2:
        return f"{_runs(one_run / (wanted - found.image_variance))} would settle it"
    if found.run_variance < wanted / 2:
        times = found.image_variance / (wanted - found.run_variance)
        return f"{times:.1f} times the validation images would settle it"
    times = found.image_variance / (wanted / 2)
    return f"{times:.1f} times the validation images and {_runs(2 * one_run / wanted)} would settle it"


def _runs(n: float) -> str:
    return f"{max(ceil(n), 2)} runs of each"
