"""The state of a training on disk: written whole or not at all, read only for the training it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from effscope.config import TrainConfig, to_dict
from effscope.differences import differences
from effscope.errors import EffscopeError

FORMAT_VERSION = 1
FREE = ("device", "eval_every")
"""Settings that may differ between the parts of one training."""

Saved = dict[str, Any]
"""Tensors, numbers, and lists and dicts of them."""


def save_state(path: Path, state: Saved, config: TrainConfig, digest: str) -> None:
    """Write the state; an interruption leaves the file of the epoch before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        torch.save({**state, "format": FORMAT_VERSION, "config": identity(config), "digest": digest}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter when a disk is full
        raise EffscopeError(f"cannot write {path}: is the disk full? choose another --out ({_first(error)})") from None
    finally:
        partial.unlink(missing_ok=True)


def load_state(path: Path, config: TrainConfig, digest: str) -> Saved:
    """Read the state of a training.

    Args:
        path: what `save_state` wrote.
        config: of the training to go on with; must be the saved one, the device aside.
        digest: of its data.

    Raises:
        EffscopeError: no readable state, or one of another training.
    """
    try:
        saved: Saved = torch.load(path, map_location="cpu", weights_only=True)
        version, kept, data = saved["format"], saved["config"], saved["digest"]
    except Exception as error:  # a damaged file raises nearly anything
        raise no_state(path, type(error).__name__) from None
    if version != FORMAT_VERSION:
        raise EffscopeError(f"{path} has format {version}, not {FORMAT_VERSION}: delete it to start anew")
    differing = differences(kept, identity(config))
    if data != digest:
        differing = ["the data or the starting weights", *differing]
    if differing:
        raise EffscopeError(f"{path} is of another training ({', '.join(differing)} differ): delete it to start anew")
    return saved


def no_state(path: Path, reason: str) -> EffscopeError:
    """What to say of a file that does not hold what a training needs."""
    return EffscopeError(f"{path} is no training state ({reason}): delete it to start anew")


def identity(config: TrainConfig) -> dict[str, Any]:
    """What makes a training this one: everything but the device and when it is evaluated."""
    return {key: value for key, value in to_dict(config).items() if key not in FREE}


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
