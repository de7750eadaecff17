"""The greedy policy and the rules, without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from support.simulated_search import searched

from effscope.config import SearchConfig
from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, INCONCLUSIVE, REJECTED, Change, Latency
from effscope.searching.changes import Costs, Count
from effscope.searching.evidence import Evidence, Run
from effscope.searching.jobs import DECIDING, Job, JobBook, Measurement
from effscope.searching.policies.greedy import greedy
from effscope.searching.policies.state import NOT_LEARNED, State, folded
from effscope.searching.policies.state import remarks as remarks_of
from effscope.searching.rules import RULES, MoreRuns, Rule, Terms, Verdict

BOOK = JobBook({kind: kind for kind in DECIDING}, 0)
ORDER = (8, 4, 7)


def new(rule: str = "margin", margin: float = 0.01, order: tuple[int, ...] = ORDER) -> State:
    saved = {Change(stage, "cib"): Count(stage, 10 * stage) for stage in order}
    costs = Costs(Count(120, 1100), Count(100, 1000), saved)
    return State(BOOK, costs, tuple(sorted(saved, key=lambda change: change.stage)), rule, Terms(margin), 0.2)


standing, fold = greedy, partial(folded, greedy)


def propose(state: State) -> tuple[Job, ...]:
    return greedy(state).jobs


def remarks(state: State) -> tuple[str, ...]:
    return remarks_of(state, greedy(state))


def answer(job: Job, aps: Mapping[frozenset[int], float], order: tuple[int, ...] = ORDER) -> Measurement:
    stages = frozenset(change.stage for change in job.changes)
    ap = {"base": 0.45, "start": aps.get(stages, 0.0) / 2, "run": aps.get(stages, 0.0)}.get(job.kind)
    latency = {need: Latency(float(len(need)), 0.1) for need in job.needs} if job.kind == "time" else {}
    return Measurement(job.id, job.kind, ap=ap, order=order if job.kind == "rank" else (), latency=latency)


def ended(state: State, aps: Mapping[frozenset[int], float], order: tuple[int, ...] = ORDER) -> State:
    """The search, answered until it asks nothing more."""
    while jobs := propose(state):
        for job in jobs:
            state = fold(state, answer(job, aps, order))
    return state


def of(*aps: float) -> dict[frozenset[int], float]:
    """AP of the base, and of the base with the first 1, 2, ... stages of `ORDER` changed."""
    return {frozenset(ORDER[:n]): ap for n, ap in enumerate(aps)}


def test_jobs_come_in_order_and_each_change_is_added_to_the_accepted_ones() -> None:
    state, asked = new(), []
    while jobs := propose(state):
        asked.append([(job.kind, [c.stage for c in job.changes]) for job in jobs])
        for job in jobs:
            state = fold(state, answer(job, of(0.5, 0.495, 0.6, 0.492)))
    assert asked == [
        [("base", [])],
        [("rank", []), ("run", [])],
        [("fit", [8])], [("start", [8]), ("run", [8])],
        [("fit", [4])], [("start", [4, 8]), ("run", [4, 8])],
        [("fit", [7])], [("start", [4, 7, 8]), ("run", [4, 7, 8])],
        [("time", [])],
        [("baselines", [4, 7, 8])],
    ]  # fmt: skip
    now = standing(state)
    assert (now.accepted, now.stop_reason) == (tuple(Change(s, "cib") for s in ORDER), "every stage was tried")
    # 0.6 - 0.492 is more than the margin: candidates are compared with the base, never with the last variant
    assert [t.delta for t in now.trials] == pytest.approx([-0.005, 0.1, -0.008])
    assert [t.ap_start for t in now.trials] == pytest.approx([0.2475, 0.3, 0.246])
    assert [(t.params, t.flops) for t in now.trials] == [(92, 920), (88, 880), (81, 810)]
    assert [len(t.changes) for t in now.trials] == [1, 2, 3]
    assert all(t.latency is not None for t in now.trials)


def test_the_first_rejection_ends_the_search() -> None:
    now = standing(ended(new(), of(0.5, 0.5, 0.4)))
    assert [t.verdict for t in now.trials] == [ACCEPTED, REJECTED]
    assert now.accepted == (Change(8, "cib"),)
    assert now.stop_reason == "stage 4 rejected: AP -10.0 points against the base"


def test_stages_that_cannot_change_are_not_tried() -> None:
    state = replace(new(), changes=(Change(4, "cib"),))
    assert standing(ended(state, {frozenset(): 0.5, frozenset({4}): 0.5})).order == (4,)
    assert standing(ended(new(), of(0.5), order=())).stop_reason == "no stage has a rank"


def test_a_base_that_has_not_learned_asks_for_nothing_more() -> None:
    state = fold(new(), Measurement(BOOK.base().id, "base", ap=0.19))
    assert propose(state) == ()
    assert standing(state).stop_reason == NOT_LEARNED
    assert not standing(state).learned


def test_a_measurement_nobody_asked_for_is_refused() -> None:
    with pytest.raises(EffscopeError, match="unknown measurement 'nonsense': the search waits for base-"):
        fold(new(), Measurement("nonsense", "base", ap=0.5))
    done = ended(new(), of(0.5, 0.4))
    for old in done.done.values():
        with pytest.raises(EffscopeError, match="waits for nothing more"):
            fold(done, old)


def test_a_rule_may_ask_for_more_runs_and_may_be_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    def patient(evidence: Evidence, terms: Terms) -> Verdict | MoreRuns:
        if len(evidence.candidate) < 3:
            return MoreRuns(3)
        return Verdict(INCONCLUSIVE, -0.01, (-0.03, 0.01), "5 runs would do")

    monkeypatch.setitem(RULES, "patient", Rule((1, 3), patient))
    state = ended(new("patient"), of(0.5, 0.49, 0.49))
    now = standing(state)
    (trial,) = now.trials
    assert (trial.verdict, trial.ci, trial.notes) == (INCONCLUSIVE, (-0.03, 0.01), ("5 runs would do",))
    assert len(trial.ap_runs) == 3 and len(now.base_runs) == 3
    assert now.accepted == () and now.stop_reason.startswith("stage 8 inconclusive")
    seeds = [BOOK.run([Change(8, "cib")], n).seed for n in range(3)]
    assert seeds == [0, 1, 2]


def test_a_rule_that_asks_for_what_it_has_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "stuck", Rule((1,), lambda evidence, terms: MoreRuns(1)))
    with pytest.raises(EffscopeError, match="rule 'stuck' asks for 1 runs and has 1"):
        ended(new("stuck"), of(0.5, 0.5))


@pytest.mark.parametrize(
    ("rule", "candidate", "base", "margin", "verdict"),
    [
        ("margin", [0.44], [0.45], 0.011, ACCEPTED),
        ("margin", [0.44], [0.45], 0.01, ACCEPTED),  # AP >= base AP - margin, exactly
        ("margin", [0.438], [0.45], 0.01, REJECTED),
        ("margin", [0.40, 0.50], [0.45], 0.0, ACCEPTED),
        ("paper", [0.45], [0.45], 0.5, ACCEPTED),
        ("paper", [0.4499], [0.45], 0.5, REJECTED),
    ],
)
def test_rules_by_hand(rule: str, candidate: list[float], base: list[float], margin: float, verdict: str) -> None:
    runs = [tuple(map(Run, aps)) for aps in (base, candidate)]
    judged = RULES[rule].decide(Evidence(*runs), Terms(margin))
    assert isinstance(judged, Verdict)
    assert judged.word == verdict
    assert judged.delta == pytest.approx(np.mean(candidate) - np.mean(base))


def simulated(rule: str, margin: float, deviation: float, seed: int, harm: float = 0.0) -> int:
    """How many of eight changes a search accepts when each costs `harm` and every run has Gaussian noise."""
    costs = [harm * n for n in range(1, 9)]
    return searched(rule, np.random.default_rng(seed), costs, deviation, 0.0, Terms(margin))[0]


@pytest.mark.parametrize("deviation", [0.001, 0.01])
def test_paper_rule_accepts_few_harmless_changes_whatever_the_noise(deviation: float) -> None:
    """A row of k accepted changes has probability 1/(k+1), so 1.83 of 8 on average (docs/background.md)."""
    accepted = [simulated("paper", 0.0, deviation, seed) for seed in range(4000)]
    assert np.mean(accepted) == pytest.approx(1.829, abs=0.12)
    for k in (1, 2, 4):
        assert np.mean(np.array(accepted) >= k) == pytest.approx(1 / (k + 1), abs=0.03)


def test_margin_rule_accepts_harmless_changes_and_stops_at_harm() -> None:
    assert np.mean([simulated("margin", 0.01, 0.001, seed) for seed in range(200)]) > 7.9
    assert {simulated("margin", 0.01, 0.0, 0, harm=0.004)} == {2}


def test_the_words_of_the_setting_rule_are_the_rules() -> None:
    for rule in RULES:
        assert SearchConfig(rule=rule).rule == rule
    with pytest.raises(EffscopeError, match="unknown `rule` 'luck': choose one of") as caught:
        SearchConfig(rule="luck")
    assert set(str(caught.value).rpartition("one of ")[2].split(", ")) == set(RULES)


def test_the_default_rule_asks_for_runs_one_look_at_a_time() -> None:
    """Stage 8 is clear after three pairs of runs, stage 4 falls clearly, so stage 7 is never tried."""
    state, asked = new("noninferior"), []
    while jobs := propose(state):
        for job in jobs:
            if job.kind == "run":
                asked.append((len(job.changes), job.seed))
            found = answer(job, of(0.5, 0.499, 0.45, 0.5))
            noise = 0.004 * (-1) ** job.seed + 0.0001 * (job.seed * (len(job.changes) + 1) % 3)
            state = fold(state, replace(found, ap=found.ap + noise if job.kind == "run" and found.ap else found.ap))
    now = standing(state)
    assert asked == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (1, 2), (2, 0), (2, 1)]
    assert [(trial.verdict, len(trial.ap_runs)) for trial in now.trials] == [(ACCEPTED, 3), (REJECTED, 2)]
    first, second = now.trials
    assert first.ci is not None and first.ci[0] < first.delta < first.ci[1]
    for trial in (first, second):
        assert trial.delta == pytest.approx(trial.ap_mean - trial.base_ap)
    assert len(now.base_runs) == 3


def test_remarks_tell_what_can_be_told_and_every_verdict() -> None:
    """They come as soon as they are known, and later states repeat them."""
    state, told = new("noninferior", margin=0.001), list[tuple[str, ...]]()
    while jobs := propose(state):
        for job in jobs:
            found = answer(job, of(0.5, 0.45))
            noise = 0.002 * (-1) ** job.seed if job.kind == "run" else 0.0
            state = fold(state, replace(found, ap=found.ap + noise if found.ap else None))
            told.append(remarks(state))
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(told))
    pilot, verdict, noise = told[-1]
    assert (
        "after 2 runs of the base: a loss of 0.6 points, perhaps a smaller one, can be told from none, more than"
        in pilot
    )
    assert verdict.startswith("stage 8 rejected: -5.0 points, between ")
    assert noise.startswith("after the first candidate: a loss of about 0.0 points can be told from none")
    assert "allow a larger `margin`, or give more validation images" in pilot
    assert remarks(ended(new("margin"), of(0.5, 0.45))) == ()
