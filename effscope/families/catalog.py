"""The built-in models by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from effscope.errors import unknown
from effscope.families.yolov8 import SCALES, yolov8
from effscope.spec.layout import Layout

ZOO: dict[str, Callable[[int], Layout]] = {f"yolov8{s}": partial(yolov8, s) for s in SCALES}
"""Name (Ultralytics' YAML stem) -> layout for a number of classes."""


def layout(name: str, nc: int = 80) -> Layout:
    """A built-in layout. Raises EffscopeError for a name the zoo does not have."""
    if name not in ZOO:
        raise unknown("model", name, ZOO)
    return ZOO[name](nc)
