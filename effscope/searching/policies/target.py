"""The target policy: the changes with the least predicted damage that reach the user's target, confirmed by runs.

The damage of a choice is predicted as the sum of what each change costs at once, alone. If the candidate is not
accepted, less is asked for. Predicted latency is the sum of what each piece saves, timed alone; the whole candidate is
timed before it is trained, and a shortfall is added to what the prediction must reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from effscope.results import ACCEPTED, HEAD, Change
from effscope.searching.changes import Changes, spelled
from effscope.searching.jobs import CANDIDATE, GIVEN, Job
from effscope.searching.policies.library import WHOLE, library_jobs, part_key, piece_key, piece_times
from effscope.searching.policies.state import Standing, State, begun, first_runs, judge, timed
from effscope.searching.selection import Option, Tie, most, select

LEVELS = (1.0, 0.75, 0.5)
"""Shares of the target that are tried, one after the other, until a candidate is accepted."""

CORRECTIONS = 3
"""Times that a candidate is chosen again because it is slower than predicted."""

NAMES = {"params": "parameters", "flops": "FLOPs", "latency": "latency"}

LIGHT_HEAD = Change(HEAD, "light-head")


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
        now = _said(now, _announced(choice, wanted))
        answer = judge(state, now, choice.changes, None)
        if isinstance(answer, tuple):
            return replace(now, jobs=answer)
        now = replace(now, trials=(*now.trials, answer))
        if answer.verdict == ACCEPTED:
            reason = f"{_words(wanted)} reached" + (
                "" if level == 1 else f", {100 * level:.0f} % of what was asked for"
            )
            return timed(state, replace(now, accepted=choice.changes, stop_reason=reason))
    return timed(
        state, replace(now, stop_reason=f"no candidate for {_words(state.targets)}, or half of it, was accepted")
    )


def options(state: State) -> tuple[Option, ...]:
    """Every fitted change with its damage and its savings."""
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
    return tuple(found)


def ties(found: tuple[Option, ...]) -> tuple[Tie, ...]:
    """The light head and compact stages need each other: Ultralytics builds one only with the other."""
    compact = tuple(option.change for option in found if option.change.move in ("cib", "cib-lk"))
    has_head = any(option.change == LIGHT_HEAD for option in found)
    return (Tie(LIGHT_HEAD, compact),) if has_head else ()


def chosen(state: State, found: tuple[Option, ...], wanted: Mapping[str, float]) -> Choice:
    """The candidate for some savings. With a target of latency it is timed; if it is too slow, the parts of the next
    one must save as much more as was missing."""
    by_change, least, last = {option.change: option for option in found}, dict(wanted), Choice(None)
    for _ in range(1 + CORRECTIONS):
        changes = select(found, least, ties(found))
        if changes is None:
            return last
        last = Choice(changes, sum(max(by_change[change].damage, 0.0) for change in changes))
        if "latency" not in wanted or state.table is not None:
            return last
        job = state.book.pace(changes)
        times = state.found(job)
        if times is None:
            return replace(last, jobs=(job,))
        faster = 1 - times.latency[CANDIDATE].ms / times.latency[GIVEN].ms
        last = replace(last, faster=faster)
        if faster >= wanted["latency"]:
            return last
        predicted = sum(by_change[change].saves["latency"] for change in changes)
        least["latency"] = predicted + wanted["latency"] - faster
    return last


def _said(now: Standing, line: str) -> Standing:
    return replace(now, said=(*now.said, line))


def _announced(choice: Choice, wanted: Mapping[str, float]) -> str:
    assert choice.changes is not None
    loss = f"predicted loss at once {100 * choice.damage:.1f} points"
    line = f"candidate for {_words(wanted)}: {spelled(choice.changes)}; {loss}"
    if choice.faster is None:
        return line
    line += f"; measured latency {-100 * choice.faster:+.0f} %"
    return line if choice.faster >= wanted["latency"] else f"{line}, less than asked for: no other choice was faster"


def _words(savings: Mapping[str, float]) -> str:
    return ", ".join(f"{name}=-{100 * share:.3g}%" for name, share in savings.items())


def _limits(state: State, found: tuple[Option, ...]) -> str:
    """The most that can be saved of each cost alone."""
    shares = [f"{100 * most(found, name, ties(found)):.0f} % of the {NAMES[name]}" for name in state.targets]
    return f"all changes together save at most {', '.join(shares)}"
