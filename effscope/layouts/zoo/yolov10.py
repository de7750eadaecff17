"""YOLOv10: YOLOv8 after moves. Source: arXiv 2405.14458 and the released layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from effscope.layouts.expand import stages
from effscope.layouts.moves import move
from effscope.layouts.zoo import yolov8
from effscope.spec.layout import Layout, Scale


@dataclass(frozen=True)
class Plan:
    """Numbers of the stages with compact inverted blocks, and whether these have the large kernel."""

    cib_stages: tuple[int, ...]
    large_kernel: bool = False


PLANS = {
    "n": Plan((8,), large_kernel=True),
    "s": Plan((4, 8), large_kernel=True),
    "m": Plan((4, 7, 8)),
    "b": Plan((4, 5, 7, 8)),
    "l": Plan((4, 5, 7, 8)),
    "x": Plan((3, 4, 5, 7, 8)),
}
SCALES = {**yolov8.SCALES, "b": Scale("b", 0.67, 1.00, 512)}

LADDER = ("nms-free", "light-head", "scdown", "cib", "large-kernel", "psa")
"""Steps from YOLOv8 to YOLOv10, in the order of the paper."""


def ladder(scale: str, nc: int = 80) -> dict[str, Layout]:
    """Step -> layout after this step. The first step is "base", YOLOv8; after the last one it is YOLOv10.

    A step that the scale does not have (the large kernel above s) does not change the layout.
    """
    plan = PLANS[scale]
    layout = yolov8.described_at(SCALES[scale], nc)
    swapped: Sequence[str] = [stage.id for stage in stages(layout) if stage.number in plan.cib_stages]
    steps = {"base": layout}
    for step in LADDER:
        match step:
            case "cib":
                layout = move(layout, "cib", swapped)
            case "large-kernel":
                layout = move(layout, "cib-lk", swapped) if plan.large_kernel else layout
            case _:
                layout = move(layout, step)
        steps[step] = layout
    return steps


def yolov10(scale: str, nc: int = 80) -> Layout:
    """YOLOv10 at scale n, s, m, b, l or x. Layer ids are those of YOLOv8; the attention is the layer "9-psa"."""
    return replace(ladder(scale, nc)["psa"], name=f"yolov10{scale}")
