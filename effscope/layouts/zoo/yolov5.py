"""YOLOv5 with the anchor-free head (Ultralytics' v5u), and its p6 form. Source: the published layouts."""

from __future__ import annotations

from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale

SCALES = {
    "n": Scale("n", 0.33, 0.25, 1024),
    "s": Scale("s", 0.33, 0.50, 1024),
    "m": Scale("m", 0.67, 0.75, 1024),
    "l": Scale("l", 1.00, 1.00, 1024),
    "x": Scale("x", 1.33, 1.25, 1024),
}
REPEATS = (3, 6, 9, 3, 3)


def yolov5(scale: str, nc: int = 80, form: str = "") -> Layout:
    """YOLOv5 at scale n, s, m, l or x; `form` is "" or "-p6"."""
    widths = (128, 256, 512, 768, 1024) if form == "-p6" else (128, 256, 512, 1024)
    body: list[Line] = [("Conv", (64, 6, 2, 2), 1, ())]
    taps = []
    for c, repeats in zip(widths, REPEATS, strict=False):
        body += [("Conv", (c, 3, 2), 1, ()), ("C3", (c,), repeats, ())]
        taps.append(len(body) - 1)
    body.append(("SPPF", (1024, 5), 1, ()))
    taps[-1] = len(body) - 1
    neck = pyramid(len(body), taps[1:], widths[1:], lambda c: ("C3", (c, False), 3, ()), lateral=True)
    return described(f"yolov5{scale}{form}", (*body, *neck), SCALES[scale], nc, len(body))
