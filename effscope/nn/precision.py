"""Choice of the device, and bfloat16 autocast on devices with native bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from effscope.errors import EffscopeError


def pick_device(name: str | int) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda`, `cuda:N` or a GPU number.

    Raises:
        EffscopeError: an unknown name, or torch does not see this device.
    """
    name = str(name)
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
        raise EffscopeError(f"device '{name}' is not available: torch sees {seen} GPUs; set `device` to cpu")
    return device


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is native on the device: GPUs that report it, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private names, may be missing
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def amp(device: torch.device) -> AbstractContextManager[None]:
    """bfloat16 autocast if the device gains from it, else a context without effect."""
    return torch.autocast(device.type, torch.bfloat16, enabled=gains_from_bfloat16(device))
