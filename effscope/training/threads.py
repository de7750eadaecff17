"""Whether other processes keep the cores busy, and how many CPU threads a run then uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from effscope.errors import counted
from effscope.nn.build import Network
from effscope.progress import Say
from effscope.training.processes import Processes
from effscope.training.speed import training_images_per_s

SPARE = 0.5
"""Cores that other processes may use, beyond free ones, without a line."""

LOOK_SECONDS = 0.5
"""For so long this process does nothing while it looks at the others, in s."""

CHOSEN = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user chooses the number of threads."""


def cores_of_others() -> float:
    """Number of cores that other processes use now. This process waits `LOOK_SECONDS` meanwhile."""
    import psutil  # noqa: PLC0415 - opening models does not need it

    return psutil.cpu_percent(LOOK_SECONDS) / 100 * (os.cpu_count() or 1)


def busy(threads: int) -> str:
    """What to say of a machine whose other processes need the cores of this one's threads; "" of any other.

    This process waits `LOOK_SECONDS` meanwhile.

    Args:
        threads: number of threads that this process works with.
    """
    cores, others = os.cpu_count() or 1, cores_of_others()
    return _words(others, cores) if _is_busy(others, threads, cores) else ""


def _is_busy(others: float, threads: int, cores: int) -> bool:
    return others > SPARE and others + threads > cores + SPARE


def _words(others: float, cores: int) -> str:
    return f"this machine is busy: other processes use {others:.1f} of its {cores} cores"


def pick_threads(network: Network, imgsz: int, batch: int, group: Processes, say: Say) -> int:
    """The number of threads with which this process trains fastest now.

    It is torch's own number, unless other processes need the same cores: then fewer are timed as well. Two threads
    on busy cores wait for each other in every backward pass, and one is several times as fast
    (experiments/busy-machine). A number that the user has chosen stays, and on a GPU torch's.

    Args:
        network: not changed.
        imgsz: side of the image in px.
        batch: images per step.
        group: this process alone.
        say: called if the machine is busy.

    Raises:
        EffscopeError: not even one image fits into memory.
    """
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    others = cores_of_others()
    if not _is_busy(others, threads, cores):
        return threads
    words = _words(others, cores)
    numbers = {threads, max(round(cores - others), 1), 1}
    if len(numbers) > 1 and group.device.type == "cpu" and not set(CHOSEN) & set(os.environ):
        speeds = {}
        for n in sorted(numbers):
            with limited(n):
                speeds[n] = training_images_per_s(network, imgsz, batch, group, steps=1)
        best = max(numbers, key=lambda n: speeds[n])
        if best < threads:
            gain = speeds[best] / speeds[threads]
            of_all = counted(threads, "thread")
            say(f"{words}; this run uses {best} of {of_all}, now {gain:.1f} times as fast as all of them")
            return best
    say(f"{words}; this takes longer than on a quiet machine")
    return threads


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """A context in which torch uses this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
