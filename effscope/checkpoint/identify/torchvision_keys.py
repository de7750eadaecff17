"""Convert key names of torchvision's EfficientNets to the names of effscope's layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from effscope.errors import EffscopeError

UNITS = ("conv", "bn")
T = TypeVar("T")


def from_torchvision_keys(state: Mapping[str, T]) -> dict[str, T]:
    """The backbone's tensors of a torchvision EfficientNet's state dict, with effscope's names.

    The values do not change. Torchvision's b0-b4 have a batch norm epsilon of 1e-5, its b5-b7 and effscope's layouts
    1e-3. For equal outputs subtract 0.00099 from every `running_var` of b0-b4.

    Raises:
        EffscopeError: a key of `features` that EfficientNets do not have.
    """
    kept = {key: value for key, value in state.items() if re.match(r"features\.[0-7]\.", key)}
    parts = {
        key: max(int(other.split(".")[4]) for other in kept if other.startswith(f"{_block(key)}."))
        for key in kept
        if _block(key)
    }
    return {_renamed(key, parts.get(key, 0)): value for key, value in kept.items()}


def _block(key: str) -> str:
    """Path of the inverted residual of a key, "" for the stem."""
    found = re.match(r"features\.[1-7]\.\d+\.block(?=\.\d+\.)", key)
    return found.group() if found else ""


def _renamed(key: str, last: int) -> str:
    """Effscope's name for a key. `last`: number of the block's closing pointwise: 3, or 2 without expansion."""
    match key.split("."):
        case ["features", "0", ("0" | "1") as unit, role]:
            return f"model.0.{UNITS[int(unit)]}.{role}"
        case ["features", stage, i, "block", part, ("0" | "1") as unit, role]:
            name = ("project", "se", "depthwise", "expand")[last - int(part)]
            return f"model.{stage}.{i}.{name}.{UNITS[int(unit)]}.{role}"
        case ["features", stage, i, "block", _, ("fc1" | "fc2") as layer, role]:
            return f"model.{stage}.{i}.se.{layer}.{role}"
    raise EffscopeError(f"'{key}' is not a tensor of a torchvision EfficientNet")
