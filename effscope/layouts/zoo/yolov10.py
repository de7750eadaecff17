"""YOLOv10 as what it is: YOLOv8 after its moves. Source: arXiv 2405.14458 and golden/yolov10_layouts.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from effscope.layouts.expand import stages
from effscope.layouts.moves import move
from effscope.layouts.zoo import yolov8
from effscope.spec.layout import Layout, Scale


@dataclass(frozen=True)
class Plan:
    """Where a scale has compact inverted blocks (stage numbers), and whether they have the large kernel."""

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
"""The steps from YOLOv8 to YOLOv10 in the paper's order."""


def ladder(scale: str, nc: int = 80) -> dict[str, Layout]:
    """Step of the ladder -> the layout after it; the first is "base", YOLOv8 itself, the last is YOLOv10.

    A step the scale does not take (the large kernel above s) leaves the layout as it was.
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
    """YOLOv10 at scale n, s, m, b, l or x. Layer ids are YOLOv8's, the attention is the layer "9-psa"."""
    return replace(ladder(scale, nc)["psa"], name=f"yolov10{scale}")
