"""The search without training: its journal, its rules, what it asks next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, REJECTED
from effscope.searching.greedy import Question, State, next_trial, replay, step
from effscope.searching.journal import Journal
from effscope.searching.stats import RULES

BASE = {"event": "base", "ap_start": 0.45, "ap_runs": [0.5], "params": 100, "flops": 1000, "order": [8, 4, 7]}


def trial(stage: int, ap: float) -> dict[str, Any]:
    return {"event": "trial", "stage": stage, "ap_start": ap / 2, "ap_runs": [ap], "params": 90, "flops": 900}


def test_journal_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    assert journal.read() == []
    events: list[dict[str, Any]] = [
        {"event": "start", "name": "zellzählung\n\u2028"},
        {"event": "base", "ap": [0.1, 1e-17], "none": None},
    ]
    for event in events:
        journal.append(event)
    assert journal.read() == Journal(journal.path).read() == events


@pytest.mark.parametrize("cut", range(1, 18))
def test_torn_last_line_is_forgiven_wherever_it_tears(tmp_path: Path, cut: int) -> None:
    """What `read` reported is there after the next append, also when only the line break is missing."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append({"event": "one"})
    journal.append({"event": "two"})
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    seen = journal.read()
    assert seen[:1] == [{"event": "one"}]
    journal.append({"event": "three"})
    assert journal.read() == [*seen, {"event": "three"}]


def test_damaged_line_in_the_middle_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text('{"event": "one"}\n{"event": "tw\n{"event": "three"}\n')
    with pytest.raises(EffscopeError, match="line 2 is damaged"):
        journal.read()


def test_greedy_asks_in_order_and_adds_to_the_accepted() -> None:
    state = State("cib", "margin", 0.01)
    assert next_trial(state) is None
    assert step(state, {"event": "start"}) == state
    state = step(state, BASE)
    assert next_trial(state) == Question(8, ())
    state = step(state, trial(8, 0.495))
    assert next_trial(state) == Question(4, (8,))
    assert state.stop_reason == ""
    state = step(state, trial(4, 0.6))
    state = step(state, trial(7, 0.492))  # 0.6 - 0.492 is more than the margin: the base counts, not the last
    assert (state.accepted, state.stop_reason) == ((8, 4, 7), "every stage was tried")
    assert next_trial(state) is None
    assert [t.delta for t in state.trials] == pytest.approx([-0.005, 0.1, -0.008])


def test_greedy_stops_at_the_first_rejection() -> None:
    state = replay(State("cib", "margin", 0.01), [{"event": "start"}, BASE, trial(8, 0.5), trial(4, 0.4)])
    assert [t.verdict for t in state.trials] == [ACCEPTED, REJECTED]
    assert state.accepted == (8,)
    assert next_trial(state) is None
    assert state.stop_reason == "stage 4 rejected: AP -10.0 points against the base"


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
    judged = RULES[rule](candidate, base, margin)
    assert judged.verdict == verdict
    assert judged.delta == pytest.approx(np.mean(candidate) - np.mean(base))


def simulated(rule: str, margin: float, deviation: float, seed: int, harm: float = 0.0) -> int:
    """How many of eight swaps a search accepts when each costs `harm` and every run has Gaussian noise."""
    random = np.random.default_rng(seed)
    base = {**BASE, "ap_runs": [0.5 + deviation * random.standard_normal()], "order": list(range(8))}
    state = step(State("cib", rule, margin), base)
    while (question := next_trial(state)) is not None:
        ap = 0.5 - harm * (len(question.accepted) + 1) + deviation * random.standard_normal()
        state = step(state, trial(question.stage, ap))
    assert all(t.verdict == ACCEPTED for t in state.trials[:-1])
    return len(state.accepted)


@pytest.mark.parametrize("deviation", [0.001, 0.01])
def test_paper_rule_takes_few_harmless_swaps_whatever_the_noise(deviation: float) -> None:
    """REFERENCE section 4: a run of k successes has probability 1/(k+1), so 1.83 of 8 on average."""
    accepted = [simulated("paper", 0.0, deviation, seed) for seed in range(4000)]
    assert np.mean(accepted) == pytest.approx(1.829, abs=0.12)
    for k in (1, 2, 4):
        assert np.mean(np.array(accepted) >= k) == pytest.approx(1 / (k + 1), abs=0.03)


def test_margin_rule_takes_harmless_swaps_and_stops_at_harm() -> None:
    assert np.mean([simulated("margin", 0.01, 0.001, seed) for seed in range(200)]) > 7.9
    assert {simulated("margin", 0.01, 0.0, 0, harm=0.004)} == {2}
