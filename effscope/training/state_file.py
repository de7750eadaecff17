"""The state of an unfinished training on disk: written completely or not at all, read only by the same training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from effscope.config import TrainConfig, to_dict
from effscope.differences import differences
from effscope.errors import EffscopeError
from effscope.files import whole

FORMAT_VERSION = 2
READABLE = (1, 2)
"""1: only states after whole epochs. 2: also within an epoch."""

FREE = ("device", "eval_every")
"""Settings that may change when a training is resumed."""

SavedState = dict[str, Any]
"""Tensors, numbers, text, and lists and dicts of them."""


def save_state(path: Path, state: SavedState, config: TrainConfig, digest: str) -> None:
    """Write the state. An interruption leaves the file as it was before.

    Raises:
        EffscopeError: the file cannot be written.
    """
    kept = {**state, "format": FORMAT_VERSION, "config": identity(config), "digest": digest}
    with whole(path, errors=(RuntimeError,)) as draft, draft.open("wb") as stream:  # torch's, of a full disk
        torch.save(kept, stream)


def load_state(path: Path, config: TrainConfig, digest: str) -> SavedState:
    """Read the state of a training.

    Args:
        path: a file by `save_state`.
        config: settings of the training to resume; must equal the saved ones, except for `FREE`.
        digest: digest of its data and starting weights.

    Raises:
        EffscopeError: the file holds no readable state, or the state of another training.
    """
    try:
        saved: SavedState = torch.load(path, map_location="cpu", weights_only=True)
        version, kept, data = saved["format"], saved["config"], saved["digest"]
    except Exception as error:  # a damaged file raises errors of many types
        raise no_state(path, type(error).__name__) from None
    if version not in READABLE:
        raise EffscopeError(f"{path} has format {version}, not {FORMAT_VERSION}: delete it to start again")
    differing = differences(kept, identity(config))
    if data != digest:
        differing = ["the data or the starting weights", *differing]
    if differing:
        named = ", ".join(differing)
        raise EffscopeError(f"{path} belongs to another training ({named} differ): delete it to start again")
    return saved


def peek(path: Path) -> tuple[int, int] | None:
    """Whole epochs in a state file, and batches of the next one; None if there is no readable state."""
    try:
        saved: SavedState = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        within = saved.get("within")
        return saved["moved"]["epoch"], 0 if within is None else within["batches"]
    except Exception:  # a damaged file raises errors of many types; `load_state` says so
        return None


def no_state(path: Path, reason: str) -> EffscopeError:
    """The error for a file that is not a training state."""
    return EffscopeError(f"{path} is not a training state ({reason}): delete it to start again")


def identity(config: TrainConfig) -> dict[str, Any]:
    """Settings that identify a training: all except `FREE`."""
    return {key: value for key, value in to_dict(config).items() if key not in FREE}
