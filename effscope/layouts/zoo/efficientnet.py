"""EfficientNet backbones B0-B7 with YOLOv8's neck and head, as layouts with scaled channels.

Source: EfficientNet (arXiv 1905.11946): stages of B0 and compound coefficients.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from effscope.layouts.zoo import yolov8
from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale


class Compound(NamedTuple):
    """Compound scale of a size, and the scale of its YOLOv8 neck."""

    width: float
    depth: float
    neck: str


SIZES = {
    "b0": Compound(1.0, 1.0, "n"),
    "b1": Compound(1.0, 1.1, "n"),
    "b2": Compound(1.1, 1.2, "n"),
    "b3": Compound(1.2, 1.4, "s"),
    "b4": Compound(1.4, 1.8, "s"),
    "b5": Compound(1.6, 2.2, "s"),
    "b6": Compound(1.8, 2.6, "s"),
    "b7": Compound(2.0, 3.1, "s"),
}

STEM = 32
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Stages of B0: expansion, kernel side, stride, channels, blocks."""

TAPS = (3, 5, 7)
"""Stages with maps for the neck: the last ones of strides 8, 16 and 32."""

NECK_WIDTHS, NECK_REPEATS = (256, 512, 1024), 3
"""Nominal numbers of YOLOv8's neck."""

LEAST_SHARE = 0.9
"""Rounding down may remove at most a tenth of the channels."""


def rounded(c: float, multiple: int = 8) -> int:
    """Channels rounded to the nearest multiple, halves up; rounded up if the result is below 90 % of c."""
    near = max(multiple, int(c + multiple / 2) // multiple * multiple)
    return near + multiple if near < LEAST_SHARE * c else near


def backbone(size: str) -> tuple[Line, ...]:
    """The stem and the seven stages of a size, without the classifier's pointwise. Line N is stage N."""
    width, depth, _ = SIZES[size]
    body: list[Line] = [("Conv", (rounded(STEM * width), 3, 2), 1, ())]
    for expansion, k, s, c, blocks in STAGES:
        body.append(("MBStage", (expansion, k, s, rounded(c * width), math.ceil(blocks * depth)), 1, ()))
    return tuple(body)


def efficientnet_yolov8(size: str, nc: int = 80) -> Layout:
    """EfficientNet B0-B7 ("b0"...) with YOLOv8's neck and head on the maps of strides 8, 16 and 32.

    The neck has the widths and depths of YOLOv8n up to b2 and of YOLOv8s from b3. The layout's numbers are not nominal.
    """
    neck_scale = yolov8.SCALES[SIZES[size].neck]
    repeats = neck_scale.repeats(NECK_REPEATS)
    body = backbone(size)
    neck = pyramid(
        len(body), TAPS, [neck_scale.channels(c) for c in NECK_WIDTHS], lambda c: ("C2f", (c, False), repeats, ())
    )
    return described(f"efficientnet-{size}-yolov8", (*body, *neck), Scale(), nc, len(body))
