"""Writing weights so that a file is either complete or not there."""

from __future__ import annotations

import os
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from effscope.errors import EffscopeError


def write_safetensors(path: str | Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a state dict as safetensors.

    Args:
        path: The file; an older one is replaced, or kept if writing fails.
        state: Tensors of any shape, dtype and device; written contiguous, each on its own.
        metadata: Texts for the header.

    Raises:
        EffscopeError: A value is not a tensor or text, or the file cannot be written.
    """
    plain = _plain_tensors(path, state)
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise EffscopeError(f"{path}: safetensors metadata must be text to text: turn the values into str")
    with _replacing(Path(path)) as unfinished:
        save_file(plain, unfinished, metadata=dict(metadata))


def write_state_dict(path: str | Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict by torch.save, as an OrderedDict that `torch.load(weights_only=True)` opens.

    Args:
        path: The file; an older one is replaced, or kept if writing fails.
        state: Tensors of any shape, dtype and device; written contiguous, each on its own.

    Raises:
        EffscopeError: A value is not a tensor, or the file cannot be written.
    """
    plain = OrderedDict(_plain_tensors(path, state))
    with _replacing(Path(path)) as unfinished, unfinished.open("wb") as stream:
        torch.save(plain, stream)


def _plain_tensors(path: str | Path, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous CPU copies: a view of a large storage would be written with all of it."""
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise EffscopeError(f"{path}: '{name}' is not a tensor but {type(value).__name__}: leave it out")
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path in the same folder that becomes `path` if the block ends well, and else disappears."""
    if not path.parent.is_dir():
        raise EffscopeError(f"{path}: its folder does not exist: create it first")
    if path.is_dir():
        raise EffscopeError(f"{path}: is a folder: give a file name")
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        yield unfinished
        unfinished.chmod(0o666 & ~_umask())
        os.replace(unfinished, path)  # noqa: PTH105 - Path.replace says less: atomic on one file system
    except (OSError, RuntimeError, SafetensorError) as error:  # the writers' own, e.g. on a full disk
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise EffscopeError(f"{path}: cannot be written ({reason}): check the folder and the disk") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _umask() -> int:
    """The process's mask of file modes; safetensors writes files that only their owner reads."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
