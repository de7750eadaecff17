"""Convert key names of the YOLOX repository (Megvii-BaseDetection/YOLOX) to those of effscope's layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from effscope.errors import EffscopeError

YOLOX_KEYS = (
    ("backbone.backbone.stem", "model.0"),
    ("backbone.backbone.dark2.0", "model.1"),
    ("backbone.backbone.dark2.1", "model.2"),
    ("backbone.backbone.dark3.0", "model.3"),
    ("backbone.backbone.dark3.1", "model.4"),
    ("backbone.backbone.dark4.0", "model.5"),
    ("backbone.backbone.dark4.1", "model.6"),
    ("backbone.backbone.dark5.0", "model.7"),
    ("backbone.backbone.dark5.1", "model.8"),
    ("backbone.backbone.dark5.2", "model.9"),
    ("backbone.lateral_conv0", "model.10"),
    ("backbone.C3_p4", "model.13"),
    ("backbone.reduce_conv1", "model.14"),
    ("backbone.C3_p3", "model.17"),
    ("backbone.bu_conv2", "model.18"),
    ("backbone.C3_n3", "model.20"),
    ("backbone.bu_conv1", "model.21"),
    ("backbone.C3_n4", "model.23"),
    ("head", "model.24"),
)
"""Module paths of the YOLOX repository and of effscope, layer by layer."""

NUMBERED = re.compile(r"\.conv([123])\.")
"""Convolutions of its CSP layers, bottlenecks and SPP; effscope's names are cv1-3."""

T = TypeVar("T")


def from_yolox_keys(state: Mapping[str, T]) -> dict[str, T]:
    """A state dict of the YOLOX repository (`{"model": state}` in its checkpoints) with effscope's names.

    The values do not change, so the network still expects BGR in 0-255. For RGB in 0-1 multiply
    `model.0.conv.conv.weight` by 255 and reverse the order in each group of three input channels.

    Raises:
        EffscopeError: a key that YOLOX models do not have.
    """
    return {_renamed(key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    for theirs, ours in YOLOX_KEYS:
        if key.startswith(f"{theirs}."):
            return ours + NUMBERED.sub(r".cv\1.", key.removeprefix(theirs))
    raise EffscopeError(f"'{key}' is not a tensor of a YOLOX model: its keys begin with 'backbone.' and 'head.'")
