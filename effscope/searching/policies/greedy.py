"""The greedy policy: stages in a fixed order, one change each, stop at the first change that costs AP.

Each change is added to the accepted changes and compared with the base, never with the last variant. The order is
computed once, on the base. Source: YOLOv10 (arXiv 2405.14458, algorithm 1), which takes the order of ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from effscope.results import ACCEPTED, HEAD, Change, place_name
from effscope.searching.changes import canonical
from effscope.searching.jobs import Job
from effscope.searching.policies.state import Standing, State, begun, first_runs, judge, timed


def greedy(state: State) -> Standing:
    """How far a greedy search is."""
    now, book = begun(state), state.book
    if now.base is None or not now.learned:
        return now
    missing, ranks = state.missing([book.rank(), *first_runs(state)]), state.found(book.rank())
    if missing or ranks is None:
        return replace(now, jobs=missing)
    needs, order = ORDERS[state.order](state)
    if needs:
        return replace(now, jobs=needs)
    return _judged(state, replace(now, order=tuple(change.stage for change in order)), order)


def _judged(state: State, now: Standing, order: tuple[Change, ...]) -> Standing:
    """The standing after judging as many changes as the measurements allow."""
    for change in order:
        answer = judge(state, now, canonical((*now.accepted, change)), change)
        if isinstance(answer, tuple):
            return replace(now, jobs=answer)
        now = replace(now, trials=(*now.trials, answer))
        if answer.verdict != ACCEPTED:
            reason = (
                f"{place_name(change.stage)} {answer.verdict}: AP {100 * answer.delta:+.1f} points against the base"
            )
            return timed(state, replace(now, stop_reason=reason))
        now = replace(now, accepted=(*now.accepted, change))
    return timed(state, replace(now, stop_reason="every stage was tried" if order else "no stage has a rank"))


def _candidates(state: State) -> dict[int, Change]:
    """Stage -> its first change in the order of the moves."""
    found: dict[int, Change] = {}
    for change in state.changes:
        found.setdefault(change.stage, change)
    return found


Order = Callable[[State], tuple[tuple[Job, ...], tuple[Change, ...]]]
"""state -> jobs that the order still needs, or the changes in the order of the trials."""


def _by_rank(state: State) -> tuple[tuple[Job, ...], tuple[Change, ...]]:
    ranks, candidates = state.found(state.book.rank()), _candidates(state)
    assert ranks is not None
    return (), _in_order(ranks.order, candidates)


def _by_separability(state: State) -> tuple[tuple[Job, ...], tuple[Change, ...]]:
    ranks, candidates = state.found(state.book.rank()), _candidates(state)
    assert ranks is not None
    return (), _in_order(ranks.by_separability, candidates)


def _in_order(ranked: Sequence[int], candidates: Mapping[int, Change]) -> tuple[Change, ...]:
    """The changes of the ranked stages; the head has no rank and comes last."""
    return tuple(candidates[stage] for stage in (*ranked, HEAD) if stage in candidates)


def _by_damage(state: State) -> tuple[tuple[Job, ...], tuple[Change, ...]]:
    return _damaging(state, lambda change: 1.0)


def _by_damage_per_saving(state: State) -> tuple[tuple[Job, ...], tuple[Change, ...]]:
    return _damaging(state, lambda change: float(max(state.costs.saved[change].params, 1)))


def _damaging(state: State, gain: Callable[[Change], float]) -> tuple[tuple[Job, ...], tuple[Change, ...]]:
    """Changes by the AP that each alone costs at once, over what it gains; the least first."""
    changes, base = tuple(_candidates(state).values()), state.found(state.book.base())
    missing = state.missing([state.book.fit(one) for one in changes]) or state.missing(
        [state.book.start((one,)) for one in changes]
    )
    if missing:
        return missing, ()
    assert base is not None

    def damage(change: Change) -> float:
        return max((base.ap or 0.0) - (state.ap_at_once((change,)) or 0.0), 0.0) / gain(change)

    return (), tuple(sorted(changes, key=damage))


ORDERS: dict[str, Order] = {
    "rank": _by_rank,
    "separability": _by_separability,
    "damage": _by_damage,
    "damage-per-saving": _by_damage_per_saving,
}
"""Setting `order` -> Order."""
