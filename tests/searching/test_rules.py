"""The rules that accept a change: constants, statistics against other implementations, simulated searches."""

from __future__ import annotations

import re
from itertools import pairwise
from math import ceil, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind
from support.simulated_search import searched

from effscope.config import SearchConfig
from effscope.detect.jackknife import GROUPS
from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, INCONCLUSIVE, REJECTED
from effscope.searching.evidence import Arm, Evidence, Run, estimate, pooled_variance, resolvable
from effscope.searching.rules import ALPHAS, LOOKS, RULES, MoreRuns, Terms, Verdict, compared, noninferior

BASE_RUNS = 5


def arm(*aps: float) -> Arm:
    return tuple(Run(ap) for ap in aps)


def judged(base: Arm, candidate: Arm, margin: float = 0.01, runs: int = 5, others: tuple[Arm, ...] = ()) -> Verdict:
    found = noninferior(Evidence(base, candidate, others), Terms(margin, runs))
    assert isinstance(found, Verdict), found
    return found


@pytest.mark.parametrize("looks", [LOOKS[:1], LOOKS[:2], LOOKS])
@pytest.mark.parametrize("base_noise", [0.0, 1.0])
def test_the_errors_of_all_looks_together_are_five_percent(looks: tuple[int, ...], base_noise: float) -> None:
    """Means of 2, 3 and 5 runs against the same runs of the base are multivariate normal."""
    shared = [[1 / max(a, b) + base_noise / looks[-1] for b in looks] for a in looks]
    correlation = np.array([[shared[i][j] / sqrt(shared[i][i] * shared[j][j]) for j in range(len(looks))]
                            for i in range(len(looks))])  # fmt: skip
    normal = stats.multivariate_normal(cov=correlation, abseps=1e-7, releps=1e-7, seed=0)
    error = 1 - normal.cdf(stats.norm.isf(ALPHAS[len(looks)]))
    assert error <= 0.05 + 1e-6
    if not base_noise:
        assert error == pytest.approx(0.05, abs=3e-4)


aps = st.lists(st.floats(0.2, 0.6), min_size=2, max_size=6).filter(lambda values: np.std(values) > 1e-4)
pairs = st.integers(2, 6).flatmap(lambda n: st.tuples(*(st.lists(st.floats(0.2, 0.6), min_size=n, max_size=n),) * 2))


@given(both=pairs.filter(lambda both: min(map(np.std, both)) > 1e-4), margin=st.floats(0.001, 0.1))
def test_one_look_equals_the_test_of_statsmodels(both: tuple[list[float], list[float]], margin: float) -> None:
    """One look has as many runs on both sides: the lower one of the two one-sided tests, variances may differ."""
    base, candidate = both
    _, (t, p, df), _ = ttost_ind(np.array(candidate), np.array(base), -margin, 1.0, usevar="unequal")
    found = estimate(Evidence(arm(*base), arm(*candidate)))
    assert found.p_value(margin) == pytest.approx(p, abs=1e-9)
    assert (found.delta + margin) / sqrt(found.variance) == pytest.approx(t, rel=1e-9)
    assert found.df == pytest.approx(df)
    assert (found.interval(0.05)[0] > -margin) == (p < 0.05)


@given(base=aps, candidate=aps, other=aps)
def test_run_noise_is_never_below_that_of_both_arms_or_of_all(
    base: list[float], candidate: list[float], other: list[float]
) -> None:
    arms = arm(*base), arm(*candidate), arm(*other)
    found = estimate(Evidence(arms[0], arms[1], arms[2:]))
    welch = np.var(base, ddof=1) / len(base) + np.var(candidate, ddof=1) / len(candidate)
    pooled = (pooled_variance(arms)[0] or 0.0) * (1 / len(base) + 1 / len(candidate))
    assert found.variance == pytest.approx(max(welch, pooled))


@given(st.lists(aps, min_size=1, max_size=5))
def test_run_noise_is_the_mean_square_of_an_analysis_of_variance(groups: list[list[float]]) -> None:
    variance, df = pooled_variance([arm(*values) for values in groups])
    squares = sum(len(values) * np.var(values) for values in groups)
    assert df == sum(len(values) - 1 for values in groups)
    assert variance == pytest.approx(squares / df)


def test_one_run_tells_nothing_about_run_noise() -> None:
    assert pooled_variance([arm(0.5), arm(0.4)]) == (None, 0)
    assert resolvable(arm(0.5), (), 5, 0.05) is None


def with_images(ap: float, effects: NDArray[np.float64]) -> Run:
    """A run whose AP is a mean over groups of images."""
    left = (effects.sum() - effects) / (len(effects) - 1)
    return Run(ap + effects.mean(), tuple((ap + left).tolist()))


def test_image_noise_is_that_of_the_paired_difference() -> None:
    """Effects that both sides share cancel; the rest is the standard error of a mean."""
    random = np.random.default_rng(0)
    shared, own = random.normal(0, 0.3, GROUPS), random.normal(0, 0.02, GROUPS)
    base = (with_images(0.5, shared), with_images(0.501, shared))
    candidate = (with_images(0.49, shared + own), with_images(0.491, shared + own))
    found = estimate(Evidence(base, candidate))
    assert found.image_variance == pytest.approx(np.var(own, ddof=1) / GROUPS)
    assert estimate(Evidence(base, base)).image_variance == 0
    assert found.variance == pytest.approx(found.image_variance + found.run_variance)  # 1/2 + 1/2
    parts = [(found.run_variance, 2), (found.image_variance, GROUPS - 1)]
    assert found.df == pytest.approx(found.variance**2 / sum(v**2 / df for v, df in parts))


def test_runs_without_groups_have_no_image_noise() -> None:
    base = (with_images(0.5, np.arange(GROUPS) / 100), Run(0.5))
    assert estimate(Evidence(base, arm(0.49, 0.5))).image_variance == 0


def test_verdicts_by_hand() -> None:
    base = arm(0.500, 0.501, 0.499, 0.500, 0.500)
    clear = judged(base, arm(0.4985, 0.4995))
    assert clear.word == ACCEPTED
    assert clear.note == "-0.1 points, between -0.6 and +0.4, 2 runs against 5: the loss is below the margin of 1"
    lost = judged(base, arm(0.45, 0.452))
    assert lost.word == REJECTED and "AP falls, most likely by more than the margin of 1" in lost.note
    assert noninferior(Evidence(base, arm(0.4905, 0.4915)), Terms(0.01)) == MoreRuns(3)
    near = judged(base, arm(0.4905, 0.4915, 0.491, 0.4895, 0.491))
    assert near.word == INCONCLUSIVE and "would settle it" in near.note
    assert near.ci is not None and near.ci[0] < -0.01 < near.ci[1]


def test_the_interval_and_the_verdict_agree() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        base, candidate = (arm(*random.normal(0.5, 0.005, n)) for n in (5, 5))
        found = judged(base, candidate, 0.008)
        assert found.ci is not None
        assert (found.word == ACCEPTED) == (found.ci[0] > -0.008)


def test_looks_follow_the_number_of_runs() -> None:
    base, undecided = arm(0.50, 0.52, 0.48, 0.5, 0.49), (0.49, 0.5, 0.47, 0.51, 0.48)
    for runs, asked in ((5, [3, 5]), (3, [3]), (2, [])):
        answers = [noninferior(Evidence(base, arm(*undecided[:n])), Terms(0.01, runs)) for n in LOOKS if n <= runs]
        wanted = [answer.n if isinstance(answer, MoreRuns) else None for answer in answers]
        assert wanted == [*asked, None]
        assert RULES["noninferior"].base_runs(runs) == runs


def test_deterministic_runs_are_judged_by_their_difference() -> None:
    base = arm(0.5, 0.5, 0.5)
    assert judged(base, arm(0.495, 0.495)).word == ACCEPTED
    assert judged(base, arm(0.48, 0.48)).word == REJECTED
    same, _ = compared(Evidence(arm(0.5), arm(0.5)), 0.01)
    assert (same.word, same.delta, same.ci) == (ACCEPTED, 0.0, (0.0, 0.0))


def test_four_of_five_harmless_changes_are_accepted_at_the_margin_that_can_be_told() -> None:
    random, sd, alpha = np.random.default_rng(2), 0.004, ALPHAS[3][-1]
    exact = arm(*(0.5 + sd * np.array([-1, 1, -1, 1, 0]) * sqrt(5 / 4) * sqrt(4 / 5)))
    told = resolvable(exact, (), 5, alpha)
    assert told == pytest.approx((stats.t.isf(alpha, 8) + stats.t.isf(0.2, 8)) * sd * sqrt(2 / 5))
    found = [judged(arm(*random.normal(0.5, sd, 5)), arm(*random.normal(0.5, sd, 5)), told).word for _ in range(2000)]
    assert found.count(ACCEPTED) / len(found) == pytest.approx(0.8, abs=0.04)


def test_what_would_settle_a_case_does_settle_it() -> None:
    """With as many runs as the note names, and the same means, the candidate is accepted."""
    base, candidate = arm(0.50, 0.505, 0.495, 0.503, 0.497), arm(0.494, 0.499, 0.488, 0.497, 0.492)
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
    assert np.mean([accepted for accepted, _ in found]) >= 7.5


def test_looks_come_in_order() -> None:
    for rule in RULES.values():
        assert all(a < b for a, b in pairwise(rule.looks))


def test_a_rule_needs_two_runs() -> None:
    with pytest.raises(EffscopeError, match="`runs` must be at least 2"):
        SearchConfig(runs=1)
