"""Peak FLOP/s and bandwidth of this machine, measured once and stored in the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from effscope.costing.roofline import Device
from effscope.errors import EffscopeError, unknown
from effscope.files import write_text
from effscope.nn.precision import pick_device
from effscope.timing.clock import Laps, timer
from effscope.timing.clock import threads as as_many_threads

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""dtypes that a forward pass can run in."""

SECONDS = 0.3
"""Duration of each measurement, in s."""


@dataclass(frozen=True)
class Problems:
    """Computations that measure a type of device.

    They are long enough to reach the peak, and short enough to run sometimes undisturbed by other processes.

    Attributes:
        matrix: side of the multiplied matrices.
        convolutions: (channels, side of the map) of 3x3 convolutions.
        piece: bytes of one copy.
    """

    matrix: int
    convolutions: tuple[tuple[int, int], ...]
    piece: int


PROBLEMS = {
    "cpu": Problems(512, ((64, 40), (64, 80), (128, 20), (128, 40), (256, 20)), 1 << 24),
    "cuda": Problems(8192, ((256, 160), (512, 80)), 1 << 26),
}
"""Type of device -> its problems."""

MIN_CPU_SHARE = 0.85
"""A peak is stored in the cache only if its threads had at least this share of the CPU time."""

COPIED_BYTES, PASSES = 1 << 28, 4
"""Bytes of one copy in pieces (far more than a CPU cache), and number of copies. The first copy is not counted."""


def processor(device: torch.device) -> str:
    """Name of the CPU or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cache_file() -> Path:
    """Cache file of the measured machines: $XDG_CACHE_HOME/effscope/devices.json."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "effscope" / "devices.json"


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of that name. Raises EffscopeError if it is not a key of `DTYPES`."""
    if name not in DTYPES:
        raise unknown("`dtype`", name, DTYPES)
    return DTYPES[name]


def this_machine(
    device: str = "auto", threads: int | None = None, dtype: str = "float32", *, fresh: bool = False
) -> Device:
    """Peak and bandwidth of this machine. The first call measures for a few seconds; later calls read the cache.

    A measurement that other processes disturbed is used but not stored; its `source` says so.

    Args:
        device: as in `pick_device`.
        threads: number of torch threads, restored afterwards; None keeps the current number.
        dtype: key of `DTYPES`.
        fresh: measure again and replace the value in the cache.

    Raises:
        EffscopeError: an unknown device or dtype.
    """
    chosen, dtype_of_torch = pick_device(device), torch_dtype(dtype)
    with as_many_threads(threads) as n:
        name = processor(chosen)
        key = f"{name} | {n} threads | {dtype} | torch {torch.__version__}"
        known = _read_cache()
        found, disturbed = known.get(key), ""
        if fresh or found is None:
            began, used = time.perf_counter(), time.process_time()
            peak = _peak(chosen, dtype_of_torch)
            cpu_share = (time.process_time() - used) / (time.perf_counter() - began) / min(n, os.cpu_count() or n)
            found = {"peak": peak, "bandwidth": _bandwidth(chosen)}
            if chosen.type == "cuda" or cpu_share > MIN_CPU_SHARE:
                _write_cache(known | {key: found})
            else:
                disturbed = " while other processes ran"
    label = name if chosen.type == "cuda" else f"{name}, {n} thread{'s' * (n != 1)}"
    what = "fastest 3x3 convolution or matrix product; copy of 256 MB in pieces, read and written"
    source = f"measured here{disturbed}: {what}"
    return Device(label, {dtype: found["peak"]}, found["bandwidth"], source)


def _read_cache() -> dict[str, dict[str, float]]:
    """Entries of the cache with positive values; none if the file is missing or damaged."""
    try:
        known = json.loads(cache_file().read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if min(entry["peak"], entry["bandwidth"]) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write_cache(machines: dict[str, dict[str, float]]) -> None:
    with contextlib.suppress(EffscopeError):  # not writable: the next call measures again
        write_text(cache_file(), json.dumps(machines, indent=1) + "\n")


@torch.inference_mode()
def _peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest computation."""

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype, device=device)

    problems = PROBLEMS[device.type]
    a = ones(problems.matrix, problems.matrix)
    computations: list[tuple[int, Callable[[], object]]] = [(2 * problems.matrix**3, lambda: a @ a)]
    for c, side in problems.convolutions:
        convolve = partial(F.conv2d, ones(1, c, side, side), ones(c, c, 3, 3), padding=1)
        computations.append((18 * c * c * side * side, convolve))
    seconds = [min(timer(work).blocked_autorange(min_run_time=SECONDS).times) for _, work in computations]
    return max(flops / least for (flops, _), least in zip(computations, seconds, strict=True))


def _bandwidth(device: torch.device) -> float:
    """Bytes read and written per second, by the fastest copy of a piece."""
    source = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    piece = PROBLEMS[device.type].piece
    pieces = list(zip(torch.split(source, piece // 4), torch.split(target, piece // 4), strict=True))
    target.zero_()
    laps = Laps(device)
    laps.mark()
    for read, written in PASSES * pieces:
        written.copy_(read)
        laps.mark()
    return 2 * piece / (min(laps.ms()[len(pieces) :]) / 1000)
