"""YOLOv8, its p2, p6 and ghost forms: one description, five scales. Source: the published layouts."""

from __future__ import annotations

from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale

SCALES = {
    "n": Scale("n", 0.33, 0.25, 1024),
    "s": Scale("s", 0.33, 0.50, 1024),
    "m": Scale("m", 0.67, 0.75, 768),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.25, 512),
}

FORMS = ("", "-p2", "-p6", "-ghost", "-ghost-p2", "-ghost-p6")
"""Output levels 3-5; p2: from level 2; p6: up to level 6. Full or ghost convolutions."""

REPEATS = (3, 6, 6, 3, 3)


def lines(form: str = "") -> tuple[tuple[Line, ...], int]:
    """The lines of a form, and the number of lines of its backbone."""
    ghost, p6 = "ghost" in form, form.endswith("p6")
    down, block = ("GhostConv", "C3Ghost") if ghost else ("Conv", "C2f")
    neck = "C2" if p6 and not ghost else block
    widths = (128, 256, 512, 768, 1024) if p6 else (128, 256, 512, 1024)
    body: list[Line] = [("Conv", (64, 3, 2), 1, ())]
    taps = []
    for c, repeats in zip(widths, REPEATS, strict=False):
        body += [(down, (c, 3, 2), 1, ()), (block, (c, True), repeats, ())]
        taps.append(len(body) - 1)
    body.append(("SPPF", (1024, 5), 1, ()))
    taps[-1] = len(body) - 1
    first = 0 if form.endswith("p2") else 1
    tail: tuple[bool, ...] = () if neck == "C2f" else (neck == "C3Ghost",)
    closing = pyramid(
        len(body),
        taps[first:],
        widths[first:],
        lambda c: (neck, (c, *tail), 3, ()),
        down=lambda c: (down, (c, 3, 2), 1, ()),
    )
    return (*body, *closing), len(body)


def described_at(scale: Scale, nc: int, form: str = "") -> Layout:
    """The layout at any scale, also at scales that YOLOv8 was not released in."""
    rows, n_backbone = lines(form)
    return described(f"yolov8{scale.name}{form}", rows, scale, nc, n_backbone)


def yolov8(scale: str, nc: int = 80, form: str = "") -> Layout:
    """YOLOv8 at scale n, s, m, l or x for `nc` classes. Layer ids are the numbers of the published layout."""
    return described_at(SCALES[scale], nc, form)
