"""Training speed of a network on this machine, measured in a second or two to predict the time of a run."""

from __future__ import annotations

import copy
import time

import torch

from effscope.errors import EffscopeError, ran_out_of_memory
from effscope.nn.build import Network, undecoded
from effscope.nn.precision import amp
from effscope.training.processes import Processes

TIMED_STEPS, TIMED_SECONDS = 2, 1.0
"""Steps that are timed: at least so many, and for so long, in s, that work of other processes falls into them."""


def training_images_per_s(
    network: Network, imgsz: int, batch: int, group: Processes, steps: int = TIMED_STEPS
) -> float:
    """Images per second of all processes through forward and backward pass, without reading, augmentation and
    assignment. If memory runs out, it measures half the batch, and so on.

    Args:
        network: not changed.
        imgsz: side of the image in px.
        batch: images per step, over all processes.
        group: the processes; each measures its share on its device.
        steps: number of steps that are timed, at least.

    Raises:
        EffscopeError: not even one image fits into memory.
    """
    device, size = group.device, max(batch // group.count, 1)
    whole = copy.deepcopy(network).to(device).train()
    whole.to(memory_format=torch.channels_last)
    raw = undecoded(whole)
    while True:
        try:
            return group.count * size * _steps_per_s(raw, imgsz, size, device, steps)
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
        if size == 1:
            raise EffscopeError("out of memory with one image at a time: give a smaller `imgsz` or model")
        size //= 2


def _steps_per_s(raw: Network, imgsz: int, batch: int, device: torch.device, least: int) -> float:
    """Steps per second, after one step that is not counted."""
    images = torch.zeros(batch, 3, imgsz, imgsz, device=device).to(memory_format=torch.channels_last)
    steps, seconds, began = -1, 0.0, time.perf_counter()
    while steps < least or seconds < TIMED_SECONDS:
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
