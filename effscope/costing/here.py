"""What this machine can do: its peak and its bandwidth, measured once and remembered in the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from effscope.costing.roofline import Device
from effscope.costing.timing import threads as as_many_threads
from effscope.costing.timing import timer
from effscope.errors import EffscopeError, unknown
from effscope.files import write_text
from effscope.nn.precision import pick_device

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""dtypes a forward pass is measured in."""

COPIED_BYTES = 1 << 28
"""Copied to measure the bandwidth: far more than the last cache holds (32 MB to 512 MB are read and written)."""

SECONDS = 0.3
"""How long each computation is repeated."""

CONVOLUTIONS = ((64, 80), (128, 40), (256, 40), (256, 20))
"""Channels and side of the maps of the 3x3 convolutions, as detectors have them."""

MATRIX = 1024
"""Side of the matrices multiplied."""


def processor(place: torch.device) -> str:
    """Name of the processor or of the GPU."""
    if place.type == "cuda":
        return torch.cuda.get_device_name(place)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cache_file() -> Path:
    """Where measured machines are remembered."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "effscope" / "devices.json"


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of that name. Raises EffscopeError for one no forward pass is measured in."""
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    return DTYPES[name]


def this_machine(
    device: str = "auto", threads: int | None = None, dtype: str = "float32", *, fresh: bool = False
) -> Device:
    """This machine as a device. It is measured in two or three seconds the first time, and read from the cache then.

    Args:
        device: as in `pick_device`.
        threads: of torch; None, as it is now. Restored afterwards.
        dtype: key of DTYPES.
        fresh: measure again, and remember that.

    Raises:
        EffscopeError: no such device or dtype.
    """
    place, kind = pick_device(device), torch_dtype(dtype)
    with as_many_threads(threads) as n:
        name = processor(place)
        key = f"{name} | {n} threads | {dtype} | torch {torch.__version__}"
        known = _remembered()
        if fresh or key not in known:
            known[key] = {"peak": _peak(place, kind), "bandwidth": _bandwidth(place)}
            with contextlib.suppress(EffscopeError):  # a home that cannot be written to: measured again next time
                write_text(cache_file(), json.dumps(known, indent=1) + "\n")
    found = known[key]
    label = name if place.type == "cuda" else f"{name}, {n} thread{'s' * (n != 1)}"
    source = "measured here: fastest of 3x3 convolutions and a matrix product; copy of 256 MB, read and written"
    return Device(label, {dtype: found["peak"]}, found["bandwidth"], source)


def _remembered() -> dict[str, dict[str, float]]:
    """Machines in the cache: entries that are not sound are left out."""
    try:
        known = json.loads(cache_file().read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if min(entry["peak"], entry["bandwidth"]) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _least_s(work: Callable[[], object]) -> float:
    return min(timer(work).blocked_autorange(min_run_time=SECONDS).times)


@torch.inference_mode()
def _peak(place: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest computation."""

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype, device=place)

    a = ones(MATRIX, MATRIX)
    rates = [2 * MATRIX**3 / _least_s(lambda: a @ a)]
    for c, side in CONVOLUTIONS:
        image, weight = ones(1, c, side, side), ones(c, c, 3, 3)
        rates.append(2 * 9 * c * c * side * side / _least_s(lambda i=image, w=weight: F.conv2d(i, w, padding=1)))  # type: ignore[misc]
    return max(rates)


def _bandwidth(place: torch.device) -> float:
    """Bytes read and written per second."""
    source = torch.ones(COPIED_BYTES // 4, device=place)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _least_s(lambda: target.copy_(source))
