"""Descriptions of model families: one line per layer, nominal numbers, sources by position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from effscope.spec.layout import IMAGE, Layer, Layout, Scale

Line = tuple[str, tuple[Any, ...], int, tuple[int, ...]]
"""Block, nominal arguments, nominal repeats, positions of the sources: -1 or () is the previous line."""


def described(name: str, lines: Sequence[Line], scale: Scale, nc: int, n_backbone: int, **extra: Any) -> Layout:
    """The layout of a description. Layer ids are positions; `extra`: more fields of the layout."""
    return Layout(name, tuple(_layers(lines)), scale, nc, n_backbone, **extra)


def _layers(lines: Sequence[Line]) -> Iterable[Layer]:
    for n, (block, args, repeats, sources) in enumerate(lines):
        positions = [n + s if s < 0 else s for s in sources or (-1,)]
        read = tuple(str(s) if s >= 0 else IMAGE for s in positions)
        yield Layer(str(n), block, args, read, repeats, origin=str(n))
