"""The built-in models by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from effscope.errors import unknown
from effscope.families import yolov8, yolov10
from effscope.spec.layout import Layout

Make = Callable[[int], Layout]


def _sizes(family: Callable[[str, int], Layout], scales: str) -> dict[str, Make]:
    """One entry per scale letter, under the name the layout gives itself."""
    makes = [partial(family, scale) for scale in scales]
    return {make(1).name: make for make in makes}


ZOO: dict[str, Make] = {
    **_sizes(yolov8.yolov8, "nsmlx"),
    **_sizes(yolov10.yolov10, "nsmblx"),
}
"""Name (Ultralytics' YAML stem) -> layout for a number of classes."""


def layout(name: str, nc: int = 80) -> Layout:
    """A built-in layout. Raises EffscopeError for a name the zoo does not have."""
    if name not in ZOO:
        raise unknown("model", name, ZOO)
    return ZOO[name](nc)
