"""Time one call, several jobs in turn, and the layers inside one forward pass."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

import torch

from effscope.progress import Progress, silent

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

WARM_UP = 2
"""Number of warm-up rounds."""

Job = Callable[[], Mapping[str, float]]
"""A function that runs once and returns the time of each part: part -> ms."""


@dataclass(frozen=True)
class Spread:
    """Median, interquartile range and minimum of several times, in ms."""

    median_ms: float
    iqr_ms: float
    least_ms: float

    @staticmethod
    def of(times: list[float]) -> Spread:
        """The spread of one or more times. The range of a single time is 0."""
        low, _, high = quantiles(times, n=4, method="inclusive") if len(times) > 1 else (0.0, 0.0, 0.0)
        return Spread(median(times), high - low, min(times))


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """Run torch with `n` threads (None: unchanged) and restore the number afterwards. Yields the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield n or before
    finally:
        torch.set_num_threads(before)


def timer(work: Callable[[], object]) -> Timer:
    """torch.utils.benchmark's timer of a call, with the current number of threads."""
    compiler = logging.getLogger("torch.utils.cpp_extension")
    level = compiler.level
    compiler.setLevel(logging.ERROR)  # the import warns about a missing CUDA compiler, which is not needed
    try:
        from torch.utils.benchmark import Timer  # noqa: PLC0415 - slow import
    finally:
        compiler.setLevel(level)
    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())


def call_ms(work: Callable[[], object], device: torch.device) -> float:
    """Time of one call in ms, after two untimed calls: CUDA events on a GPU, torch.utils.benchmark on a CPU."""
    if device.type == "cpu":
        return 1000 * timer(work).timeit(1).median
    laps = Laps(device)
    for _ in range(2):
        work()
    laps.mark()
    work()
    laps.mark()
    return laps.ms()[0]


class Laps:
    """Marks during a computation, and the times between them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.marks: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Set a mark now; on a GPU, at the end of the work queued so far."""
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.events.append(event)
        else:
            self.marks.append(1000 * time.perf_counter())

    def ms(self) -> list[float]:
        """Time from each mark to the next, in ms."""
        if self.events:
            torch.cuda.synchronize(self.device)
            return [a.elapsed_time(b) for a, b in zip(self.events, self.events[1:], strict=False)]
        return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]


def by_turns(jobs: Mapping[str, Job], rounds: int, progress: Progress = silent) -> dict[str, dict[str, list[float]]]:
    """Times of each job's parts. Every job runs once per round, so a short load on the machine affects all jobs.

    Args:
        jobs: name -> job.
        rounds: counted rounds, after `WARM_UP` warm-up rounds.
        progress: called before every run of a job.

    Returns:
        job name -> part -> ms of each counted round.
    """
    found: dict[str, dict[str, list[float]]] = {name: {} for name in jobs}
    steps = (WARM_UP + rounds) * len(jobs)
    for turn in range(WARM_UP + rounds):
        for n, (name, job) in enumerate(jobs.items()):
            progress((turn * len(jobs) + n) / steps, f"{name}, round {max(turn - WARM_UP + 1, 0)}/{rounds}")
            for part, ms in job().items():
                if turn >= WARM_UP:
                    found[name].setdefault(part, []).append(ms)
    return found
