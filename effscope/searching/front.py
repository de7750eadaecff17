"""The models to choose from: those that were judged, and for each saving the choice that is predicted best. Pure."""

from __future__ import annotations

from effscope.results import FrontPoint, Trial
from effscope.searching.policies.state import Standing, State
from effscope.searching.policies.target import options, ties
from effscope.searching.selection import most, select

STEPS = 10
"""Predicted choices, at equal steps up to the largest saving of the cost that the user names first."""

ROUNDING = 1e-9

PREDICTED = "predicted"


def front(state: State, now: Standing) -> tuple[FrontPoint, ...]:
    """The base, and the judged candidates that no other one beats in AP and every cost, by parameters.

    In a search for a target also the choices with the least predicted damage that are not judged.
    """
    if not now.base_runs:
        return ()
    base, cost = now.base, state.costs.base
    assert base is not None
    ms = None if now.times is None else now.times.latency[state.book.run(()).id].ms
    points = [FrontPoint((), cost.params, cost.flops, ms, now.base_ap, "base", base.ap)]
    points += [_judged(trial) for trial in now.trials]
    best = [one for one in points if not one.changes or not any(_beats(other, one) for other in points)]
    known = {one.changes for one in points}
    best += [one for one in predicted(state, ms) if one.changes not in known]
    return tuple(sorted(best, key=lambda one: -one.params))


def predicted(state: State, base_ms: float | None) -> tuple[FrontPoint, ...]:
    """The choices with the least predicted damage, from small to the largest saving of the cost named first."""
    name, base = next(iter(state.targets), None), state.found(state.book.base())
    if name is None or base is None:
        return ()
    found = options(state)
    by_change, tied = {option.change: option for option in found}, ties(found)
    largest = most(found, name, tied) if found else 0.0
    chosen = [select(found, {name: n / STEPS * largest - ROUNDING}, tied) for n in range(1, STEPS + 1)]
    points = []
    for changes in dict.fromkeys(one for one in chosen if one):
        damage = sum(max(by_change[change].damage, 0.0) for change in changes)
        cost, ms = state.costs.of(changes), None
        if (
            base_ms is not None
            and state.table is None
            and all("latency" in by_change[change].saves for change in changes)
        ):
            ms = base_ms * max(1 - sum(by_change[change].saves["latency"] for change in changes), 0.0)
        at_once = max((base.ap or 0.0) - damage, 0.0)
        points.append(FrontPoint(changes, cost.params, cost.flops, ms, None, PREDICTED, at_once))
    return tuple(points)


def _judged(trial: Trial) -> FrontPoint:
    ms = None if trial.latency is None else trial.latency.ms
    return FrontPoint(trial.changes, trial.params, trial.flops, ms, trial.ap_mean, trial.verdict, trial.ap_start)


def _beats(a: FrontPoint, b: FrontPoint) -> bool:
    """Whether a judged model is nowhere worse than another, and somewhere better."""
    pairs = [(a.params, b.params), (a.flops, b.flops), (-(a.ap or 0.0), -(b.ap or 0.0))]
    if a.latency_ms is not None and b.latency_ms is not None:
        pairs.append((a.latency_ms, b.latency_ms))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)
