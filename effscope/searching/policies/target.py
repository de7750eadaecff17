"""The target policy: the changes with the least predicted damage that reach the user's target, confirmed by runs.

The damage of a choice is predicted as the sum of what each change costs at once, alone. If the candidate is not
accepted, less is asked for. Predicted latency is the sum of what each piece saves, timed alone; the whole candidate is
timed before it is trained, and a shortfall is added to what the prediction must reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from effscope.config.search import COMPACT
from effscope.results import ACCEPTED, spelled
from effscope.searching.changes import LIGHT_HEAD, Changes
from effscope.searching.jobs import CANDIDATE, GIVEN, Job
from effscope.searching.policies.library import WHOLE, library_jobs, part_key, piece_key, piece_times
from effscope.searching.policies.state import Standing, State, begun, first_runs, judge, timed
from effscope.searching.selection import Option, Tie, most, select

LEVELS = (1.0, 0.75, 0.5)
"""Shares of the target that are tried, one after the other, until a candidate is accepted."""

CORRECTIONS = 3
"""Times that a candidate is chosen again because it is slower than predicted."""

NAMES = {"params": "parameters", "flops": "FLOPs", "latency": "latency"}


@dataclass(frozen=True)
class Choice:
    """A candidate for a share of the target.

    Attributes:
        changes: the candidate; None if no choice reaches this share.
        damage: its predicted loss of AP at once.
        jobs: what must be measured before the choice is final.
        faster: measured fraction of the latency that it saves; None if it is not measured.
    """

    changes: Changes | None
    damage: float = 0.0
    jobs: tuple[Job, ...] = ()
    faster: float | None = None


def target(state: State) -> Standing:
    """How far a search for a target is."""
    now = begun(state)
    if now.base is None or not now.learned:
        return now
    missing = library_jobs(state) or state.missing(first_runs(state))
    if missing:
        return replace(now, jobs=missing)
    found = options(state)
    left = [change for change in state.changes if all(option.change != change for option in found)]
    if left:
        now = _said(now, f"no time is known of {spelled(left)}, or of what they need: they are not chosen")
    ranks = state.found(state.book.rank())
    assert ranks is not None
    return _tried(state, replace(now, order=ranks.order), found)


def _tried(state: State, now: Standing, found: tuple[Option, ...]) -> Standing:
    """The standing after trying as many shares of the target as the measurements allow."""
    for level in LEVELS:
        wanted = {name: level * share for name, share in state.targets.items()}
        choice = chosen(state, found, wanted)
        if choice.jobs:
            return replace(now, jobs=choice.jobs)
        if choice.changes is None:
            now = _said(now, f"{_words(wanted)} cannot be reached: {_limits(state, found)}")
            continue
        if any(trial.changes == choice.changes for trial in now.trials):
            now = _said(now, f"{_words(wanted)}: the candidate is the same as before")
            continue
        now = _said(now, _announced(choice, wanted))
        answer = judge(state, now, choice.changes, None)
        if isinstance(answer, tuple):
            return replace(now, jobs=answer)
        now = replace(now, trials=(*now.trials, answer))
        if answer.verdict == ACCEPTED:
            return timed(
                state, replace(now, accepted=choice.changes, stop_reason=_reason(state, choice, wanted, level))
            )
    return timed(
        state, replace(now, stop_reason=f"no candidate for {_words(state.targets)}, or half of it, was accepted")
    )


def _reason(state: State, choice: Choice, wanted: Mapping[str, float], level: float) -> str:
    """Why the search ends with an accepted candidate."""
    if choice.faster is not None and choice.faster < wanted["latency"]:
        return f"accepted, but {_words(wanted)} was not reached: latency {-100 * choice.faster:+.0f} %"
    by_table = "latency" in wanted and state.table is not None
    reached = f"{_words(wanted)} reached{' by the times of your table' * by_table}"
    return reached if level == 1 else f"{reached}, {100 * level:.0f} % of what was asked for"


def options(state: State) -> tuple[Option, ...]:
    """Every change that can be chosen, with its damage and its savings: not one without a time if latency counts, and
    no compact stage then if the light head that it needs has none."""
    base, given, times = state.found(state.book.base()), state.costs.given, piece_times(state)
    assert base is not None
    found = []
    for change in state.changes:
        ap, saved = state.ap_at_once((change,)), state.costs.saved[change]
        saves = {"params": saved.params / given.params, "flops": saved.flops / given.flops}
        if WHOLE in times and {part_key(change), piece_key(change)} <= set(times):
            saves["latency"] = (times[part_key(change)] - times[piece_key(change)]) / times[WHOLE]
        if set(state.targets) <= set(saves):
            found.append(Option(change, (base.ap or 0.0) - (ap or 0.0), saves))
    if LIGHT_HEAD in state.changes and all(option.change != LIGHT_HEAD for option in found):
        found = [option for option in found if option.change.move not in COMPACT]
    return tuple(found)


def ties(found: tuple[Option, ...]) -> tuple[Tie, ...]:
    """The light head and compact stages need each other: Ultralytics builds one only with the other. A user who asks
    for the light head without compact moves gets it alone."""
    compact = tuple(option.change for option in found if option.change.move in COMPACT)
    has_head = any(option.change == LIGHT_HEAD for option in found)
    return (Tie(LIGHT_HEAD, compact),) if has_head and compact else ()


def chosen(state: State, found: tuple[Option, ...], wanted: Mapping[str, float]) -> Choice:
    """The candidate for some savings. With a target of latency it is timed; if it is too slow, the parts of the next
    one must save as much more as was missing. If none is fast enough, the fastest one is it."""
    by_change, least, fastest = {option.change: option for option in found}, dict(wanted), Choice(None)
    for _ in range(1 + CORRECTIONS):
        changes = select(found, least, ties(found))
        if changes is None:
            return fastest
        choice = Choice(changes, sum(max(by_change[change].damage, 0.0) for change in changes))
        if "latency" not in wanted or state.table is not None:
            return choice
        job = state.book.pace(changes)
        times = state.found(job)
        if times is None:
            return replace(choice, jobs=(job,))
        faster = 1 - times.latency[CANDIDATE].ms / times.latency[GIVEN].ms
        if faster >= wanted["latency"]:
            return replace(choice, faster=faster)
        if fastest.faster is None or faster > fastest.faster:
            fastest = replace(choice, faster=faster)
        predicted = sum(by_change[change].saves["latency"] for change in changes)
        least["latency"] = predicted + wanted["latency"] - faster
    return fastest


def _said(now: Standing, line: str) -> Standing:
    return replace(now, said=(*now.said, line))


def _announced(choice: Choice, wanted: Mapping[str, float]) -> str:
    assert choice.changes is not None
    loss = f"predicted loss at once {100 * choice.damage:.1f} points"
    line = f"candidate for {_words(wanted)}: {spelled(choice.changes)}; {loss}"
    if choice.faster is None:
        return line
    line += f"; measured latency {-100 * choice.faster:+.0f} %"
    return (
        line
        if choice.faster >= wanted["latency"]
        else f"{line}, less than asked for: the fastest choice that was timed"
    )


def _words(savings: Mapping[str, float]) -> str:
    return ", ".join(f"{name}=-{100 * share:.3g}%" for name, share in savings.items())


def _limits(state: State, found: tuple[Option, ...]) -> str:
    """The most that can be saved of each cost alone."""
    shares = [f"{100 * most(found, name, ties(found)):.0f} % of the {NAMES[name]}" for name in state.targets]
    return f"all changes together save at most {', '.join(shares)}"
