"""The neck of most YOLO families: top-down from the coarsest level, then bottom-up, with concatenated maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from effscope.layouts.zoo.describe import Line

StageLine = Callable[[int], Line]
"""Nominal channels -> the line of a stage block."""


def pyramid(
    n: int,
    taps: Sequence[int],
    widths: Sequence[int],
    stage: StageLine,
    *,
    down: Callable[[int], Line] = lambda c: ("Conv", (c, 3, 2), 1, ()),
    last: StageLine | None = None,
    lateral: bool = False,
) -> tuple[Line, ...]:
    """Lines of a neck and its Detect head.

    Args:
        n: position of the first line.
        taps: positions of the backbone's maps, finest first; the last position is the end of the backbone.
        widths: nominal channels of the neck's maps at these levels.
        stage: block of each level.
        down: line that halves the map (bottom-up).
        last: another block for the coarsest level.
        lateral: whether a pointwise comes before each upsampling (YOLOv5); the bottom-up path then reads its output.
    """
    lines: list[Line] = []
    kept = {len(taps) - 1: taps[-1]}
    for level in range(len(taps) - 2, -1, -1):
        if lateral:
            lines.append(("Conv", (widths[level], 1, 1), 1, ()))
            kept[level + 1] = n + len(lines) - 1
        lines += [
            ("Upsample", (None, 2, "nearest"), 1, ()),
            ("Concat", (1,), 1, (-1, taps[level])),
            stage(widths[level]),
        ]
        kept[level] = n + len(lines) - 1
    outputs = [kept[0]]
    for level in range(1, len(taps)):
        closing = last if last is not None and level == len(taps) - 1 else stage
        lines += [down(widths[level - 1]), ("Concat", (1,), 1, (-1, kept[level])), closing(widths[level])]
        outputs.append(n + len(lines) - 1)
    return (*lines, ("Detect", ("nc",), 1, tuple(outputs)))
