"""Write state dicts, as safetensors or by torch.save."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from effscope.errors import EffscopeError
from effscope.files import whole


def write_safetensors(path: str | Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors.

    Args:
        path: The file; an older one is replaced, or kept if writing fails.
        state: Tensors of any shape, dtype and device. They are written contiguous and without shared memory.
        metadata: Strings for the header.

    Raises:
        EffscopeError: A value is not a tensor or string, or the file cannot be written.
    """
    plain = _plain_tensors(path, state)
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise EffscopeError(f"{path}: safetensors metadata must be text to text: turn the values into str")
    with whole(Path(path), errors=(SafetensorError,)) as draft:
        save_file(plain, draft, metadata=dict(metadata))
        draft.chmod(0o666 & ~_umask())  # safetensors lets only the owner read


def write_state_dict(path: str | Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict by torch.save, as an OrderedDict that `torch.load(weights_only=True)` opens.

    Args:
        path: The file; an older one is replaced, or kept if writing fails.
        state: Tensors of any shape, dtype and device. They are written contiguous and without shared memory.

    Raises:
        EffscopeError: A value is not a tensor, or the file cannot be written.
    """
    plain = OrderedDict(_plain_tensors(path, state))
    with whole(Path(path), errors=(RuntimeError,)) as draft, draft.open("wb") as stream:  # torch's, of a full disk
        torch.save(plain, stream)


def _plain_tensors(path: str | Path, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous CPU copies. Without a copy a view would be written with its whole storage."""
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise EffscopeError(f"{path}: '{name}' is not a tensor but {type(value).__name__}: leave it out")
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


def _umask() -> int:
    """The process's mask of file modes."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
