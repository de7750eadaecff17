"""Runs jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from effscope.searching.jobs import Job, Measurement


class LocalEngine:
    """The engine of one process.

    Args:
        execute: does a job and returns its measurement.
    """

    def __init__(self, execute: Callable[[Job], Measurement]):
        self._execute = execute
        self._waiting: dict[str, Job] = {}

    def submit(self, job: Job) -> None:
        """Take a job; a job that already waits is taken once."""
        self._waiting.setdefault(job.id, job)

    def completed(self) -> Iterator[Measurement]:
        """Measurements of the waiting jobs as they finish, until none waits."""
        while self._waiting:
            job = next(iter(self._waiting.values()))
            found = self._execute(job)
            self._waiting.pop(job.id, None)
            yield found

    def cancel(self, job: Job) -> None:
        """Drop a job that waits."""
        self._waiting.pop(job.id, None)
