"""YOLOv6 as in Ultralytics: 3x3 convolutions, ReLU, transposed convolutions. Source: the published layout."""

from __future__ import annotations

from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.yolov8 import SCALES
from effscope.spec.layout import Layout

STAGES = ((128, 6), (256, 12), (512, 18), (1024, 6))
"""Nominal channels and repeats of the backbone's stages."""


def _row(c: int, repeats: int) -> Line:
    return ("Conv", (c, 3, 1), repeats, ())


def yolov6(scale: str, nc: int = 80) -> Layout:
    """YOLOv6 at scale n, s, m, l or x."""
    body: list[Line] = [("Conv", (64, 3, 2), 1, ())]
    for c, repeats in STAGES:
        body += [("Conv", (c, 3, 2), 1, ()), _row(c, repeats)]
    body.append(("SPPF", (1024, 5), 1, ()))
    neck: list[Line] = []
    for c, tap in ((256, 6), (128, 4)):
        neck += [("Conv", (c, 1, 1), 1, ()), ("ConvTranspose2d", (c, 2, 2, 0), 1, ()), ("Concat", (1,), 1, (-1, tap))]
        neck += [_row(c, 1), _row(c, 9)]
    for c, tap in ((128, 15), (256, 10)):
        neck += [("Conv", (c, 3, 2), 1, ()), ("Concat", (1,), 1, (-1, tap)), _row(2 * c, 1), _row(2 * c, 9)]
    lines = (*body, *neck, ("Detect", ("nc",), 1, (19, 23, 27)))
    return described(f"yolov6{scale}", lines, SCALES[scale], nc, len(body), activation="relu")
