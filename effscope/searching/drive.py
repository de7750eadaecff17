"""Run a policy on an engine, and record in a journal what the policy has received."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from effscope.errors import EffscopeError
from effscope.progress import Say, unsaid
from effscope.searching.jobs import Job, Measurement
from effscope.searching.journal import Journal

S = TypeVar("S")


@dataclass(frozen=True)
class Policy(Generic[S]):
    """What a search does next, as two pure functions of its state.

    Attributes:
        propose: state -> jobs to measure next, in order; empty at the end of the search.
        fold: (state, measurement) -> state; raises EffscopeError if that job was not proposed.
        remarks: state -> lines for the user; later states repeat them and add some.
    """

    propose: Callable[[S], tuple[Job, ...]]
    fold: Callable[[S, Measurement], S]
    remarks: Callable[[S], tuple[str, ...]]


class Engine(Protocol):
    """Runs jobs."""

    def submit(self, job: Job) -> None:
        """Add a job."""

    def completed(self) -> Iterator[Measurement]:
        """Measurements of the submitted jobs, in the order in which they finish; ends when no job is left."""

    def cancel(self, job: Job) -> None:
        """Drop a job if it has not started."""


def replay(policy: Policy[S], state: S, measurements: Iterable[Measurement]) -> S:
    """The state after earlier measurements, e.g. those of a journal.

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
    say: Say = unsaid,
) -> S:
    """Run a search to its end.

    Measurements are folded in the order in which the policy proposed the jobs. The engine may finish them in another
    order, so the result does not depend on the engine.

    Args:
        policy: decides what to do next.
        state: the current state, replayed from the journal.
        engine: runs the jobs.
        journal: receives the new measurements.
        kept: job -> its measurement, if the job finished before a stop but is not in the journal; else None.
        say: called with each new remark of the policy.

    Returns:
        The final state, in which the policy proposes nothing.

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
                    raise EffscopeError(f"job {job.id} was lost: start the search again, it will resume")
                found[measurement.job] = measurement
            journal.append(found[job.id])
            before = policy.remarks(state)
            state = policy.fold(state, found[job.id])
            for line in policy.remarks(state):
                if line not in before:
                    say(line)
    return state
