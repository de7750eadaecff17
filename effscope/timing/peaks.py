"""What this machine can do: its peak and its bandwidth, measured once and remembered in the user's cache."""

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
"""dtypes a forward pass is measured in."""

SECONDS = 0.3
"""How long each computation is repeated."""


@dataclass(frozen=True)
class Problems:
    """What is computed and copied to measure a kind of device: long enough to reach its peak, and short, so that some
    rounds end before a neighbour on the machine takes its turn.

    Attributes:
        matrix: side of the matrices multiplied.
        convolutions: channels and side of the maps of 3x3 convolutions.
        piece: bytes copied at a time.
    """

    matrix: int
    convolutions: tuple[tuple[int, int], ...]
    piece: int


PROBLEMS = {
    "cpu": Problems(512, ((64, 40), (64, 80), (128, 20), (128, 40), (256, 20)), 1 << 24),
    "cuda": Problems(8192, ((256, 160), (512, 80)), 1 << 26),
}
"""Type of device -> what it is measured by."""

ALONE = 0.85
"""Share of the asked threads' time that a machine must give for its peak to be remembered."""

COPIED_BYTES, PASSES = 1 << 28, 4
"""Memory that is copied piece by piece, far more than caches hold, and how often, the first time uncounted."""


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
    """This machine as a device. It is measured in three or four seconds the first time, and read from the cache then;
    what was measured while others used the processor is taken, said, and not remembered.

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
        found, when = known.get(key), ""
        if fresh or found is None:
            began, used = time.perf_counter(), time.process_time()
            peak = _peak(place, kind)
            given = (time.process_time() - used) / (time.perf_counter() - began) / min(n, os.cpu_count() or n)
            found = {"peak": peak, "bandwidth": _bandwidth(place)}
            if place.type == "cuda" or given > ALONE:
                _remember(known | {key: found})
            else:
                when = " while others used it"
    label = name if place.type == "cuda" else f"{name}, {n} thread{'s' * (n != 1)}"
    source = (
        f"measured here{when}: fastest 3x3 convolution or matrix product; copy of 256 MB in pieces, read and written"
    )
    return Device(label, {dtype: found["peak"]}, found["bandwidth"], source)


def _remembered() -> dict[str, dict[str, float]]:
    """Machines in the cache: entries that are not sound are left out."""
    try:
        known = json.loads(cache_file().read_text(encoding="utf-8"))
        return {key: entry for key, entry in known.items() if min(entry["peak"], entry["bandwidth"]) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _remember(machines: dict[str, dict[str, float]]) -> None:
    with contextlib.suppress(EffscopeError):  # a home that cannot be written to: measured again next time
        write_text(cache_file(), json.dumps(machines, indent=1) + "\n")


@torch.inference_mode()
def _peak(place: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest computation."""

    def ones(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=dtype, device=place)

    problems = PROBLEMS[place.type]
    a = ones(problems.matrix, problems.matrix)
    works: list[tuple[int, Callable[[], object]]] = [(2 * problems.matrix**3, lambda: a @ a)]
    for c, side in problems.convolutions:
        convolve = partial(F.conv2d, ones(1, c, side, side), ones(c, c, 3, 3), padding=1)
        works.append((18 * c * c * side * side, convolve))
    return max(flops / min(timer(work).blocked_autorange(min_run_time=SECONDS).times) for flops, work in works)


def _bandwidth(place: torch.device) -> float:
    """Bytes read and written per second, of the fastest piece."""
    source = torch.ones(COPIED_BYTES // 4, device=place)
    target = torch.empty_like(source)
    piece = PROBLEMS[place.type].piece
    pieces = list(zip(torch.split(source, piece // 4), torch.split(target, piece // 4), strict=True))
    target.zero_()
    laps = Laps(place)
    laps.mark()
    for read, written in PASSES * pieces:
        written.copy_(read)
        laps.mark()
    return 2 * piece / (min(laps.ms()[len(pieces) :]) / 1000)
