"""YOLOv3 with the anchor-free head, and its spp and tiny forms. Source: arXiv 1804.02767; layers as in Ultralytics."""

from __future__ import annotations

from effscope.layouts.zoo.describe import Line, described
from effscope.spec.layout import Layout, Scale

FORMS = ("", "-spp", "-tiny")
DARKNET53 = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
"""Channels and bottlenecks of each stage."""


def _up(c: int, tap: int) -> list[Line]:
    return [
        ("Conv", (c, 1, 1), 1, (-2,)), ("Upsample", (None, 2, "nearest"), 1, ()), ("Concat", (1,), 1, (-1, tap)),
    ]  # fmt: skip


def _darknet(form: str) -> tuple[list[Line], int]:
    lines: list[Line] = [("Conv", (32, 3, 1), 1, ())]
    for c, n in DARKNET53:
        lines += [("Conv", (c, 3, 2), 1, ()), ("Bottleneck", (c,), n, ())]
    n_backbone = len(lines)
    narrow: Line = ("SPP", (512, (5, 9, 13)), 1, ()) if form == "-spp" else ("Conv", (512, 1, 1), 1, ())
    lines += [("Bottleneck", (1024, False), 1, ()), narrow, ("Conv", (1024, 3, 1), 1, ())]
    lines += [("Conv", (512, 1, 1), 1, ()), ("Conv", (1024, 3, 1), 1, ()), *_up(256, 8)]
    lines += [("Bottleneck", (512, False), 1, ())] * 2
    lines += [("Conv", (256, 1, 1), 1, ()), ("Conv", (512, 3, 1), 1, ()), *_up(128, 6)]
    lines += [("Bottleneck", (256, False), 1, ()), ("Bottleneck", (256, False), 2, ())]
    return [*lines, ("Detect", ("nc",), 1, (27, 22, 15))], n_backbone


def _tiny() -> tuple[list[Line], int]:
    lines: list[Line] = []
    for c in (16, 32, 64, 128, 256):
        lines += [("Conv", (c, 3, 1), 1, ()), ("MaxPool2d", (2, 2, 0), 1, ())]
    lines += [("Conv", (512, 3, 1), 1, ()), ("ZeroPad2d", ((0, 1, 0, 1),), 1, ()), ("MaxPool2d", (2, 1, 0), 1, ())]
    n_backbone = len(lines)
    lines += [("Conv", (1024, 3, 1), 1, ()), ("Conv", (256, 1, 1), 1, ()), ("Conv", (512, 3, 1), 1, ())]
    lines += [*_up(128, 8), ("Conv", (256, 3, 1), 1, ())]
    return [*lines, ("Detect", ("nc",), 1, (19, 15))], n_backbone


def yolov3(form: str = "", nc: int = 80) -> Layout:
    """YOLOv3; `form` is "", "-spp" or "-tiny"."""
    lines, n_backbone = _tiny() if form == "-tiny" else _darknet(form)
    return described(f"yolov3{form}", lines, Scale(), nc, n_backbone)
