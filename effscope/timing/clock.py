"""Clocks: one call timed, several jobs by turns, a network's layers lap by lap."""

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
"""Rounds that are not counted."""

Job = Callable[[], Mapping[str, float]]
"""Does its work once and says how long its parts took: name -> ms."""


@dataclass(frozen=True)
class Spread:
    """Median, interquartile range and least of some times, ms."""

    median_ms: float
    iqr_ms: float
    least_ms: float

    @staticmethod
    def of(times: list[float]) -> Spread:
        """Of one time or more."""
        low, _, high = quantiles(times, n=4, method="inclusive") if len(times) > 1 else (0.0, 0.0, 0.0)
        return Spread(median(times), high - low, min(times))


@contextmanager
def threads(n: int | None) -> Iterator[int]:
    """Torch with that many threads (None: as it is), and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield n or before
    finally:
        torch.set_num_threads(before)


def timer(work: Callable[[], object]) -> Timer:
    """torch.utils.benchmark's timer of a call, with as many threads as torch has now."""
    compiler = logging.getLogger("torch.utils.cpp_extension")
    level = compiler.level
    compiler.setLevel(logging.ERROR)  # importing the timer warns of a compiler for GPUs that nothing here needs
    try:
        from torch.utils.benchmark import Timer  # noqa: PLC0415 - slow import
    finally:
        compiler.setLevel(level)
    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())


def call_ms(work: Callable[[], object], place: torch.device) -> float:
    """Time of one call in ms, after two that are not timed: by events on a GPU, else by torch.utils.benchmark."""
    if place.type == "cpu":
        return 1000 * timer(work).timeit(1).median
    laps = Laps(place)
    for _ in range(2):
        work()
    laps.mark()
    work()
    laps.mark()
    return laps.ms()[0]


class Laps:
    """Marks in the course of a computation, and the times between them."""

    def __init__(self, place: torch.device) -> None:
        self.place = place
        self.marks: list[float] = []
        self.events: list[torch.cuda.Event] = []

    def mark(self) -> None:
        """Remember now; on a GPU, the moment its work so far is done."""
        if self.place.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self.events.append(event)
        else:
            self.marks.append(1000 * time.perf_counter())

    def ms(self) -> list[float]:
        """Time from each mark to the next one."""
        if self.events:
            torch.cuda.synchronize(self.place)
            return [a.elapsed_time(b) for a, b in zip(self.events, self.events[1:], strict=False)]
        return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]


def by_turns(jobs: Mapping[str, Job], rounds: int, progress: Progress = silent) -> dict[str, dict[str, list[float]]]:
    """Times of each job's parts, round by round: a busy moment of the machine hits all jobs.

    Args:
        jobs: name -> job.
        rounds: counted ones; `WARM_UP` go before.
        progress: told after every job.

    Returns:
        name -> part -> ms of every counted round.
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
