"""Run jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from effscope.searching.jobs import Job, Measurement


class LocalEngine:
    """The engine of one process.

    Args:
        execute: runs a job and returns its measurement.
    """

    def __init__(self, execute: Callable[[Job], Measurement]):
        self._execute = execute
        self._waiting: dict[str, Job] = {}

    def submit(self, job: Job) -> None:
        """Add a job, unless it is already waiting."""
        self._waiting.setdefault(job.id, job)

    def completed(self) -> Iterator[Measurement]:
        """Run the waiting jobs and yield their measurements, until no job is waiting."""
        while self._waiting:
            job = next(iter(self._waiting.values()))
            found = self._execute(job)
            self._waiting.pop(job.id, None)
            yield found

    def cancel(self, job: Job) -> None:
        """Drop a waiting job."""
        self._waiting.pop(job.id, None)
