"""Peak memory of a training."""

from __future__ import annotations

import sys

import torch


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MiB: of torch's allocator on CUDA, else of the process (0 if the system does not report
    it)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # noqa: PLC0415  (not on Windows)
    except ImportError:
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
