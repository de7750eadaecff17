"""RT-DETR (arXiv 2304.08069): HGNet or ResNet backbone, one encoder layer, convolutional neck, query decoder."""

from __future__ import annotations

from dataclasses import replace

from effscope.layouts.zoo import yolov8
from effscope.layouts.zoo.describe import Line, described
from effscope.spec.layout import Layout, Scale

Backbone = tuple[list[Line], tuple[int, int], int, int]
"""Lines, positions of the maps of strides 8 and 16, width of the neck, hidden width of the encoder."""


def _block(c_mid: int, c_out: int, k: int, *flags: bool) -> Line:
    return ("HGBlock", (c_mid, c_out, k, *flags), 6, ())


def _down(c: int) -> Line:
    return ("DWConv", (c, 3, 2, 1, False), 1, ())


def _hgnet(stem: int, c: int, repeats: tuple[int, int, int], width: int, hidden: int) -> Backbone:
    """HGNetV2. `c`: its first inner width; `repeats`: blocks of its last three stages."""
    lines: list[Line] = [("HGStem", (32, stem), 1, ()), _block(c, 128, 3), _down(128)]
    lines += [_block(2 * c, 512, 3), *[_block(2 * c, 512, 3, False, True)] * (repeats[0] - 1)]
    fine = len(lines) - 1
    lines += [_down(512), _block(4 * c, 1024, 5, True, False)]
    lines += [_block(4 * c, 1024, 5, True, True)] * (repeats[1] - 1)
    middle = len(lines) - 1
    lines += [_down(1024), _block(8 * c, 2048, 5, True, False)]
    lines += [_block(8 * c, 2048, 5, True, True)] * (repeats[2] - 1)
    return lines, (fine, middle), width, hidden


def _resnet(depths: tuple[int, int, int, int]) -> Backbone:
    lines: list[Line] = [("ResNetLayer", (3, 64, 1, True, 1), 1, ())]
    for n, depth in enumerate(depths):
        c_in = 64 if n == 0 else 128 * 2**n
        lines.append(("ResNetLayer", (c_in, 64 * 2**n, 1 if n == 0 else 2, False, depth), 1, ()))
    return lines, (2, 3), 256, 1024


def _lateral(c: int, *sources: int) -> Line:
    return ("Conv", (c, 1, 1, None, 1, 1, False), 1, sources)


def _neck(n: int, taps: tuple[int, int], c: int, hidden: int) -> list[Line]:
    lines: list[Line] = [_lateral(c), ("AIFI", (hidden, 8), 1, ())]
    kept = []
    for tap in reversed(taps):
        lines.append(("Conv", (c, 1, 1), 1, ()))
        kept.append(n + len(lines) - 1)
        lines += [("Upsample", (None, 2, "nearest"), 1, ()), _lateral(c, tap), ("Concat", (1,), 1, (-2, -1))]
        lines.append(("RepC3", (c,), 3, ()))
    outputs = [n + len(lines) - 1]
    for source in reversed(kept):
        lines += [("Conv", (c, 3, 2), 1, ()), ("Concat", (1,), 1, (-1, source)), ("RepC3", (c,), 3, ())]
        outputs.append(n + len(lines) - 1)
    return [*lines, ("RTDETRDecoder", ("nc",), 1, tuple(outputs))]


FORMS: dict[str, tuple[Backbone, Scale]] = {
    "-l": (_hgnet(48, 48, (1, 3, 1), 256, 1024), Scale("l", 1.0, 1.0, 1024)),
    "-x": (_hgnet(64, 64, (2, 5, 2), 384, 2048), Scale("x", 1.0, 1.0, 2048)),
    "-resnet50": (_resnet((3, 4, 6, 3)), Scale("l", 1.0, 1.0, 1024)),
    "-resnet101": (_resnet((3, 4, 23, 3)), Scale("l", 1.0, 1.0, 1024)),
}


def rtdetr(form: str, nc: int = 80) -> Layout:
    """RT-DETR; `form` is a key of FORMS."""
    (body, taps, width, hidden), scale = FORMS[form]
    lines = [*body, *_neck(len(body), taps, width, hidden)]
    return described(f"rtdetr{form}", lines, scale, nc, len(body))


def yolov8_rtdetr(scale: str, nc: int = 80) -> Layout:
    """YOLOv8 with RT-DETR's decoder."""
    base = yolov8.yolov8(scale, nc, "")
    head = replace(base.layers[-1], block="RTDETRDecoder")
    return replace(base.swap([head]), name=f"yolov8{scale}-rtdetr")
