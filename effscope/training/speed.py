"""Training speed of a network on this machine, measured in a second or two to predict the time of a run."""

from __future__ import annotations

import copy
import os
import time

import torch

from effscope.errors import EffscopeError, ran_out_of_memory
from effscope.nn.build import Network, view
from effscope.nn.precision import amp
from effscope.progress import Say
from effscope.spec.graph import DECODED
from effscope.training.processes import Processes

TIMED_STEPS, TIMED_SECONDS = 2, 1.0
"""Steps that are timed: at least so many, and for so long, in s, that work of other processes falls into them."""

SPARE = 0.5
"""Busy threads of other processes, beyond free cores, that are not worth a line."""

LOAD_SECONDS = 60
"""Period of the load average that `say_if_busy` reads, in s."""


def say_if_busy(say: Say) -> None:
    """Say so if other processes use cores that this process needs. Call it before the work: its threads do not count.

    The load is the system's average over a minute, without the CPU time that this process has used so far. A system
    without a load average is never busy. Fewer threads help: on busy cores, two threads in a backward pass wait for
    each other, whatever the settings of OpenMP are (experiments/busy-machine).
    """
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):
        return
    others, cores, threads = load - time.process_time() / LOAD_SECONDS, os.cpu_count() or 1, torch.get_num_threads()
    if others > SPARE and others + threads > cores + SPARE:
        fewer = max(int(cores - others), 1)
        advice = f"; with OMP_NUM_THREADS={fewer} it may take less" if fewer < threads else ""
        say(
            f"this machine is busy: other processes keep {others:.1f} threads running on its {cores} cores; "
            f"this takes longer than on a quiet machine{advice}"
        )


def training_images_per_s(network: Network, imgsz: int, batch: int, group: Processes) -> float:
    """Images per second of all processes through forward and backward pass, without reading, augmentation and
    assignment. If memory runs out, it measures half the batch, and so on.

    Args:
        network: not changed.
        imgsz: side of the image in px.
        batch: images per step, over all processes.
        group: the processes; each measures its share on its device.

    Raises:
        EffscopeError: not even one image fits into memory.
    """
    device, size = group.device, max(batch // group.count, 1)
    whole = copy.deepcopy(network).to(device).train()
    whole.to(memory_format=torch.channels_last)
    raw = view(whole, *(name for name in whole.spec.views if name != DECODED))
    while True:
        try:
            return group.count * size * _steps_per_s(raw, imgsz, size, device)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
        if size == 1:
            raise EffscopeError("out of memory with one image at a time: give a smaller `imgsz` or model")
        size //= 2


def _steps_per_s(raw: Network, imgsz: int, batch: int, device: torch.device) -> float:
    """Steps per second, after one step that is not counted."""
    images = torch.zeros(batch, 3, imgsz, imgsz, device=device).to(memory_format=torch.channels_last)
    steps, seconds, began = -1, 0.0, time.perf_counter()
    while steps < TIMED_STEPS or seconds < TIMED_SECONDS:
        if steps == 0:
            began = time.perf_counter()
        with amp(device):
            views = raw(images)
        loss = torch.stack([level.float().mean() for levels in views.values() for level in levels]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        steps += 1
        seconds = time.perf_counter() - began
    return steps / seconds
