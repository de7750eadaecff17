"""Where this machine computes: device choice and bfloat16 where it gains."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from effscope.errors import EffscopeError


def pick_device(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or a bare GPU number.

    Raises:
        EffscopeError: the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(f"cuda:{name}" if name.isdigit() else name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise EffscopeError(f"unknown device '{name}': choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = torch.cuda.device_count()
        raise EffscopeError(f"device '{name}' is not available: torch sees {seen} GPUs here; use --device cpu")
    return device


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native on the device: GPUs that say so, processors with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private, so they may be missing
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def amp(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 autocast where the device gains from it, else nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=gains_from_bfloat16(device))
