"""The search itself, without training: what to try next, and what an answer changes. Pure functions; no torch.

Stages in ascending rank, computed once on the base; each swap is added to those accepted so far and compared with
the base, never with the last; the first one that fails ends the search (DESIGN section 7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from effscope.results import ACCEPTED, Change, Trial
from effscope.searching.stats import RULES


@dataclass(frozen=True)
class Question:
    """What the search wants to know: AP with this stage swapped on top of the accepted ones."""

    stage: int
    accepted: tuple[int, ...]


@dataclass(frozen=True)
class Base:
    """What everything is compared with: AP as trained or given, and after the short training a candidate gets."""

    ap_start: float
    ap_runs: tuple[float, ...]
    params: int
    flops: int
    order: tuple[int, ...]

    @property
    def ap(self) -> float:
        """Mean AP of the runs."""
        return sum(self.ap_runs) / len(self.ap_runs)


@dataclass(frozen=True)
class State:
    """A search between two events."""

    move: str
    rule: str
    margin: float
    base: Base | None = None
    trials: tuple[Trial, ...] = ()

    @property
    def accepted(self) -> tuple[int, ...]:
        """Stages accepted so far, in the order tried."""
        return tuple(t.stage for t in self.trials if t.verdict == ACCEPTED)

    @property
    def stop_reason(self) -> str:
        """Why nothing is left to try; empty while something is."""
        if self.base is None:
            return ""
        if self.trials and self.trials[-1].verdict != ACCEPTED:
            last = self.trials[-1]
            return f"stage {last.stage} {last.verdict}: AP {100 * last.delta:+.1f} points against the base"
        if len(self.trials) == len(self.base.order):
            return "every stage was tried"
        return ""


def next_trial(state: State) -> Question | None:
    """The next question; None before the base is known and when the search has stopped."""
    if state.base is None or state.stop_reason:
        return None
    return Question(state.base.order[len(state.trials)], state.accepted)


def step(state: State, event: dict[str, Any]) -> State:
    """The state after an event: `base` (ap_start, ap_runs, params, ...) or `trial` (stage, ap_start, ap_runs, ...)."""
    if event["event"] == "base":
        base = Base(event["ap_start"], tuple(event["ap_runs"]), event["params"], event["flops"], tuple(event["order"]))
        return replace(state, base=base)
    if event["event"] != "trial" or state.base is None:
        return state
    judged = RULES[state.rule](event["ap_runs"], state.base.ap_runs, state.margin)
    trial = Trial(
        stage=event["stage"],
        move=state.move,
        params=event["params"],
        flops=event["flops"],
        ap_start=event["ap_start"],
        ap_mean=sum(event["ap_runs"]) / len(event["ap_runs"]),
        ap_runs=tuple(event["ap_runs"]),
        base_ap=state.base.ap,
        delta=judged.delta,
        ci=judged.ci,
        verdict=judged.verdict,
        changes=tuple(Change(stage, state.move) for stage in (*state.accepted, event["stage"])),
    )
    return replace(state, trials=(*state.trials, trial))


def replay(state: State, events: Iterable[dict[str, Any]]) -> State:
    """The state after a journal."""
    for event in events:
        state = step(state, event)
    return state
