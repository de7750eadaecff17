"""The rules that accept a change: constants, statistics against other implementations, simulated searches."""

from __future__ import annotations

import re
from itertools import pairwise
from math import ceil, sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind, ttost_paired
from support.simulated_search import searched

from effscope.config import SearchConfig
from effscope.detect.jackknife import GROUPS
from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, INCONCLUSIVE, REJECTED
from effscope.searching.evidence import (
    Arm,
    Evidence,
    Run,
    against_fixed,
    independent,
    pair_variance,
    paired,
    resolvable,
)
from effscope.searching.rules import ALPHAS, LOOKS, RULES, MoreRuns, Terms, Verdict, compared, noninferior


def arm(*aps: float) -> Arm:
    return tuple(Run(ap) for ap in aps)


def judged(base: Arm, candidate: Arm, margin: float = 0.01, runs: int = 5, others: tuple[Arm, ...] = ()) -> Verdict:
    found = noninferior(Evidence(base, candidate, others), Terms(margin, runs))
    assert isinstance(found, Verdict), found
    return found


@pytest.mark.parametrize("looks", [LOOKS[:1], LOOKS[:2], LOOKS])
def test_the_errors_of_all_looks_together_are_at_most_five_percent(looks: tuple[int, ...]) -> None:
    """Means of the first 2, 3 and 5 differences are multivariate normal."""
    correlation = [[sqrt(min(a, b) / max(a, b)) for b in looks] for a in looks]
    normal = stats.multivariate_normal(cov=correlation, abseps=1e-7, releps=1e-7, seed=0)
    error = 1 - normal.cdf(stats.norm.isf(ALPHAS[len(looks)]))
    assert max(ALPHAS[len(looks)]) - 1e-6 <= error <= 0.05 + 1e-6


aps = st.lists(st.floats(0.2, 0.6), min_size=2, max_size=6).filter(lambda values: np.std(values) > 1e-4)
pairs = st.integers(2, 6).flatmap(lambda n: st.tuples(*(st.lists(st.floats(0.2, 0.6), min_size=n, max_size=n),) * 2))


def is_usual(p: float) -> bool:
    """Whether Student's t is accurate there."""
    return 1e-6 < p < 1 - 1e-6


@given(both=pairs, margin=st.floats(0.001, 0.1))
def test_one_look_equals_the_paired_test_of_statsmodels(both: tuple[list[float], list[float]], margin: float) -> None:
    """The lower one of the two one-sided tests."""
    base, candidate = both
    assume(np.std(np.subtract(candidate, base)) > 1e-4)
    _, (_, p, df), _ = ttost_paired(np.array(candidate), np.array(base), -margin, 1.0)
    assume(is_usual(p))
    found = paired(Evidence(arm(*base), arm(*candidate)))
    assert found.bound(p) == pytest.approx(-margin, abs=1e-9)
    assert found.run_df == df
    assert (found.interval(0.05)[0] > -margin) == (p < 0.05)


@given(base=aps, candidate=aps, margin=st.floats(0.001, 0.1))
def test_two_detectors_equal_the_test_of_statsmodels(base: list[float], candidate: list[float], margin: float) -> None:
    """Two samples, variances may differ."""
    _, (_, p, df), _ = ttost_ind(np.array(candidate), np.array(base), -margin, 1.0, usevar="unequal")
    assume(is_usual(p))
    found = independent(arm(*base), arm(*candidate))
    assert found.bound(p) == pytest.approx(-margin, abs=1e-9)
    assert found.run_df == pytest.approx(df)


@given(base=aps, candidate=aps, other=aps)
def test_run_noise_is_never_below_that_of_the_pairs_or_of_all(
    base: list[float], candidate: list[float], other: list[float]
) -> None:
    n, m = min(len(base), len(candidate)), min(len(base), len(other))
    found = paired(Evidence(arm(*base), arm(*candidate[:n]), (arm(*other[:m]),)))
    differences = [np.subtract(values[:k], base[:k]) for values, k in ((candidate, n), (other, m))]
    own = np.var(differences[0], ddof=1)
    pooled = sum(np.sum((d - d.mean()) ** 2) for d in differences) / (n + m - 2)
    assert found.run_variance == pytest.approx(max(own, pooled) / n)
    assert found.run_df == pytest.approx((n + m - 2) / (1 + 1 / 4))


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_degrees_of_freedom_of_pairs_that_share_the_base(k: int) -> None:
    """The variance of a pooled variance estimate is 2 sigma^4 / df."""
    random, n = np.random.default_rng(7), 5
    found = []
    for _ in range(3000):
        base, *arms = (arm(*random.normal(0.5, 0.01, n)) for _ in range(k + 1))
        variance, df = pair_variance(base, arms)
        found.append(variance)
    assert np.mean(found) == pytest.approx(2e-4, rel=0.03)
    assert 2 * 2e-4**2 / np.var(found) == pytest.approx(df, rel=0.12)


@given(shifts=st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5), sizes=st.lists(st.integers(1, 5), min_size=1))
def test_what_a_seed_does_to_all_models_is_no_noise(shifts: list[float], sizes: list[int]) -> None:
    base, *arms = [arm(*(0.5 + 0.01 * k + shift for shift in shifts[:n])) for k, n in enumerate((5, *sizes))]
    found = paired(Evidence(base, arms[0], tuple(arms[1:])))
    assert (found.delta, found.run_variance) == pytest.approx((0.01, 0), abs=1e-12)


def test_one_run_tells_nothing_about_run_noise() -> None:
    assert pair_variance(arm(0.5), [arm(0.4)]) == (None, 0)
    assert resolvable(arm(0.5), (), 5, 0.05) is None
    assert independent(arm(0.5), arm(0.4)).one_run is None
    assert independent(arm(0.5), arm(0.4, 0.42)).one_run == pytest.approx(2 * np.var([0.4, 0.42], ddof=1))


def with_images(ap: float, effects: NDArray[np.float64]) -> Run:
    """A run whose AP is a mean over groups of images."""
    left = (effects.sum() - effects) / (len(effects) - 1)
    return Run(ap + effects.mean(), tuple((ap + left).tolist()))


def test_image_noise_is_that_of_the_paired_difference() -> None:
    """Effects that both sides share cancel; the rest is the standard error of a mean."""
    random = np.random.default_rng(0)
    shared, own = random.normal(0, 0.3, GROUPS), random.normal(0, 0.02, GROUPS)
    base = (with_images(0.5, shared), with_images(0.501, shared))
    candidate = (with_images(0.49, shared + own), with_images(0.493, shared + own))
    found = paired(Evidence(base, candidate))
    assert found.image_variance == pytest.approx(np.var(own, ddof=1) / GROUPS)
    assert paired(Evidence(base, base)).image_variance == 0
    assert found.variance == pytest.approx(found.image_variance + np.var([0.01, 0.008], ddof=1) / 2)
    parts = found.run_variance / found.variance, found.image_variance / found.variance
    t = parts[0] * stats.t.ppf(0.9, 1) + parts[1] * stats.t.ppf(0.9, GROUPS - 1)
    assert found.bound(0.9) == pytest.approx(found.delta + t * sqrt(found.variance))


def test_runs_without_groups_have_no_image_noise() -> None:
    base = (with_images(0.5, np.arange(GROUPS) / 100), Run(0.5))
    assert paired(Evidence(base, arm(0.49, 0.5))).image_variance == 0


def test_verdicts_by_hand() -> None:
    """Runs that rise and fall together with their seed are close after a few pairs."""
    base = arm(0.500, 0.510, 0.495, 0.503, 0.492)
    together = arm(0.499, 0.5095, 0.494, 0.5025, 0.491)
    clear = judged(base, together[:3])
    assert clear.word == ACCEPTED
    assert clear.note == "-0.1 points, between -0.2 and +0.1, 3 runs each: the loss is below the margin of 1"
    lost = judged(base, arm(0.45, 0.452))
    assert lost.word == REJECTED and "AP falls, most likely by more than the margin of 1" in lost.note
    assert noninferior(Evidence(base, arm(0.4905, 0.5015)), Terms(0.01)) == MoreRuns(3)
    near = judged(base, arm(0.4905, 0.5015, 0.4845, 0.4945, 0.4815))
    assert near.word == INCONCLUSIVE and "would settle it" in near.note
    assert near.ci is not None and near.ci[0] < -0.01 < near.ci[1]


def test_other_candidates_tell_how_large_run_noise_is() -> None:
    """Two pairs alone say next to nothing; after candidates with five, two suffice."""
    base, calm = arm(0.500, 0.510, 0.495, 0.503, 0.492), arm(0.4995, 0.5092, 0.4951, 0.5026, 0.4917)
    assert noninferior(Evidence(base, calm[:2]), Terms(0.01)) == MoreRuns(3)
    assert judged(base, calm[:2], others=(calm,) * 2).word == ACCEPTED


def test_the_interval_and_the_verdict_agree() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        base, candidate = (arm(*random.normal(0.5, 0.005, n)) for n in (5, 5))
        found = judged(base, candidate, 0.008)
        assert found.ci is not None
        assert (found.word == ACCEPTED) == (found.ci[0] > -0.008)


def test_looks_follow_the_number_of_runs() -> None:
    base, undecided = arm(0.50, 0.52, 0.48, 0.5, 0.49), (0.495, 0.52, 0.47, 0.505, 0.48)
    for runs, asked in ((5, [3, 5]), (3, [3]), (2, [])):
        answers = [noninferior(Evidence(base, arm(*undecided[:n])), Terms(0.01, runs)) for n in LOOKS if n <= runs]
        wanted = [answer.n if isinstance(answer, MoreRuns) else None for answer in answers]
        assert wanted == [*asked, None]
        assert RULES["noninferior"].most_runs(runs) == runs


def test_deterministic_runs_are_judged_by_their_difference() -> None:
    base = arm(0.5, 0.5, 0.5)
    assert judged(base, arm(0.495, 0.495)).word == ACCEPTED
    assert judged(base, arm(0.48, 0.48)).word == REJECTED
    same, _ = compared(arm(0.5), arm(0.5), 0.01)
    assert (same.word, same.delta, same.ci) == (ACCEPTED, 0.0, (0.0, 0.0))


def test_four_of_five_harmless_changes_are_accepted_at_the_margin_that_can_be_told() -> None:
    random, sd, alpha = np.random.default_rng(2), 0.004, ALPHAS[3][-1]
    shape = np.array([1, -1, 1, -1, 0]) * sqrt(5 / 4) * sqrt(4 / 5)
    base, other = arm(*(0.5 + sd * shape)), arm(*(0.5 - sd * shape))
    told = resolvable(base, (), 5, alpha)
    reach = stats.t.isf(alpha, 4) + stats.t.isf(0.2, 4)
    assert told == pytest.approx(reach * sd * sqrt(2 / 5))
    assert resolvable(base, (other,), 5, alpha) == pytest.approx(
        (stats.t.isf(alpha, 8) + stats.t.isf(0.2, 8)) * 2 * sd / sqrt(5)
    )
    found = [judged(arm(*random.normal(0.5, sd, 5)), arm(*random.normal(0.5, sd, 5)), told).word for _ in range(2000)]
    assert found.count(ACCEPTED) / len(found) == pytest.approx(0.8, abs=0.04)


def test_what_would_settle_a_case_does_settle_it() -> None:
    """With as many runs as the note names, and the same means, the candidate is accepted."""
    base, candidate = arm(0.50, 0.505, 0.495, 0.503, 0.497), arm(0.496, 0.495, 0.487, 0.493, 0.494)
    verdict = judged(base, candidate)
    assert verdict.word == INCONCLUSIVE
    words = re.search(r"; (\d+) runs of each would settle it", verdict.note)
    assert words, verdict.note
    times = ceil(int(words[1]) / 5)
    assert judged(base * times, candidate * times).word == ACCEPTED


def test_images_that_would_settle_a_case_are_named() -> None:
    random = np.random.default_rng(0)
    effects = 0.05 * random.standard_normal(GROUPS)
    base, candidate = (tuple(with_images(0.5 + noise, e) for noise in (0.0, 1e-4)) for e in (0 * effects, effects))
    verdict = judged(base, candidate, runs=2)
    assert verdict.word == INCONCLUSIVE
    assert re.search(r"[\d.]+ times the validation images would settle it", verdict.note), verdict.note


@pytest.mark.parametrize("noise", [0.001, 0.01])
@pytest.mark.parametrize("images", [0.0, 1.0])
@pytest.mark.parametrize("stages", [1, 4])
def test_a_change_that_costs_the_margin_is_rarely_accepted(noise: float, images: float, stages: int) -> None:
    """The last of some changes costs exactly the margin, the others nothing; `make bench-rule` has every case."""
    random = np.random.default_rng(3)
    found = [
        searched("noninferior", random, [0.0] * (stages - 1) + [5 * noise], noise, images * noise, Terms(5 * noise))
        for _ in range(600)
    ]
    assert np.mean([accepted == stages for accepted, _ in found]) <= 0.05 + 2.5 * sqrt(0.05 * 0.95 / 600)


def test_harmless_changes_are_accepted_where_the_proxy_can_tell() -> None:
    random = np.random.default_rng(4)
    found = [searched("noninferior", random, [0.0] * 8, 0.001, 0.0, Terms(0.003)) for _ in range(300)]
    assert np.mean([accepted for accepted, _ in found]) >= 7.5 - 0.2


def test_noise_that_seeds_share_costs_nothing() -> None:
    """Nine tenths of the variance are the seeds': at a margin of two standard deviations two or three runs suffice."""
    found = [
        searched("noninferior", np.random.default_rng(seed), [0.0] * 8, 0.001, 0.0, Terms(0.0063), shared=0.003)
        for seed in range(200)
    ]
    accepted, runs = np.mean(found, 0)
    assert accepted >= 7.9 and runs <= 8 * 3 + 5


def test_looks_come_in_order() -> None:
    for rule in RULES.values():
        assert all(a < b for a, b in pairwise(rule.looks))


def test_a_rule_needs_two_runs() -> None:
    with pytest.raises(EffscopeError, match="`runs` must be at least 2"):
        SearchConfig(runs=1)


def test_a_fixed_detector_has_no_noise_of_training() -> None:
    """One-sample Student's t against scipy, and no interval wider than the images where there is one run."""
    aps, fixed = (0.30, 0.32, 0.31, 0.34, 0.33), 0.35
    found = against_fixed(Run(fixed), tuple(Run(ap) for ap in aps))
    low, high = found.interval(0.025)
    theirs = stats.ttest_1samp(aps, fixed).confidence_interval(0.95)
    assert (low, high) == pytest.approx((theirs.low - fixed, theirs.high - fixed))
    assert against_fixed(Run(fixed), (Run(0.3),)).interval(0.025) == (pytest.approx(-0.05), pytest.approx(-0.05))
