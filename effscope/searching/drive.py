"""Brings a policy and an engine together, and writes down what the policy takes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from effscope.errors import EffscopeError
from effscope.searching.jobs import Job, Measurement
from effscope.searching.journal import Journal

S = TypeVar("S")


@dataclass(frozen=True)
class Policy(Generic[S]):
    """What a search does next, as two pure functions of its state.

    Attributes:
        propose: state -> jobs to measure next, in order; none when the search has ended.
        fold: (state, measurement) -> state; raises EffscopeError for a measurement nobody asked for.
    """

    propose: Callable[[S], tuple[Job, ...]]
    fold: Callable[[S, Measurement], S]


class Engine(Protocol):
    """Where jobs run."""

    def submit(self, job: Job) -> None:
        """Take a job."""

    def completed(self) -> Iterator[Measurement]:
        """Measurements of the submitted jobs, in the order they finish; ends when no job is left."""

    def cancel(self, job: Job) -> None:
        """Drop a job if it has not started."""


def drive(
    policy: Policy[S],
    state: S,
    engine: Engine,
    journal: Journal,
    kept: Callable[[Job], Measurement | None] = lambda job: None,
    replayed: Callable[[Measurement], object] = lambda measurement: None,
) -> S:
    """Run a search to its end, from where its journal stands.

    Measurements are folded in the order the policy proposed their jobs, whatever order the engine finishes them in, so
    the result does not depend on the engine.

    Args:
        policy: what to do next.
        state: the search before its first measurement.
        engine: does the jobs.
        journal: holds the measurements so far; gets the new ones.
        kept: the measurement of a job that was finished before a stop and is not in the journal; None if there is none.
        replayed: told each measurement that needed no work.

    Returns:
        The state in which the policy proposes nothing.

    Raises:
        EffscopeError: the journal belongs to another search, or the engine lost a job.
    """
    for measurement in journal.read():
        state = policy.fold(state, measurement)
        replayed(measurement)
    while jobs := policy.propose(state):
        found: dict[str, Measurement] = {}
        for job in jobs:
            known = kept(job)
            if known is None:
                engine.submit(job)
            else:
                found[job.id] = known
                replayed(known)
        arriving = engine.completed()
        for job in jobs:
            while job.id not in found:
                measurement = next(arriving, None)
                if measurement is None:
                    raise EffscopeError(f"job {job.id} was lost: start the search again, it goes on from there")
                found[measurement.job] = measurement
            journal.append(found[job.id])
            state = policy.fold(state, found[job.id])
    return state
