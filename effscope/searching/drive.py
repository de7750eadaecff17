"""Brings a policy and an engine together, and writes down what the policy takes in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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


def replay(policy: Policy[S], state: S, measurements: Iterable[Measurement]) -> S:
    """The state after measurements that were folded before, e.g. those of a journal.

    Raises:
        EffscopeError: a measurement belongs to another search.
    """
    for measurement in measurements:
        state = policy.fold(state, measurement)
    return state


def drive(
    policy: Policy[S],
    state: S,
    engine: Engine,
    journal: Journal,
    kept: Callable[[Job], Measurement | None],
) -> S:
    """Run a search to its end.

    Measurements are folded in the order in which the policy proposed their jobs. The engine may finish them in any
    order: the result does not depend on it.

    Args:
        policy: what to do next.
        state: the search now; the replay of its journal.
        engine: does the jobs.
        journal: gets the new measurements.
        kept: the measurement of a job that was finished before a stop and is not in the journal; None if there is none.

    Returns:
        The state in which the policy proposes nothing.

    Raises:
        EffscopeError: the engine lost a job, or a job fails.
    """
    while jobs := policy.propose(state):
        found: dict[str, Measurement] = {}
        for job in jobs:
            known = kept(job)
            if known is None:
                engine.submit(job)
            else:
                found[job.id] = known
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
