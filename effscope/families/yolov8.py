"""YOLOv8: one description, five scales. Source: the published layout (REFERENCE section 1), read as numbers."""

from __future__ import annotations

from effscope.families.describe import Line, described
from effscope.spec.layout import Layout, Scale

SCALES = {
    "n": Scale("n", 0.33, 0.25, 1024),
    "s": Scale("s", 0.33, 0.50, 1024),
    "m": Scale("m", 0.67, 0.75, 768),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.25, 512),
}

N_BACKBONE = 10

LINES: tuple[Line, ...] = (
    ("Conv", (64, 3, 2), 1, ()),
    ("Conv", (128, 3, 2), 1, ()),
    ("C2f", (128, True), 3, ()),
    ("Conv", (256, 3, 2), 1, ()),
    ("C2f", (256, True), 6, ()),
    ("Conv", (512, 3, 2), 1, ()),
    ("C2f", (512, True), 6, ()),
    ("Conv", (1024, 3, 2), 1, ()),
    ("C2f", (1024, True), 3, ()),
    ("SPPF", (1024, 5), 1, ()),
    ("Upsample", (None, 2, "nearest"), 1, ()),
    ("Concat", (1,), 1, (10, 6)),
    ("C2f", (512,), 3, ()),
    ("Upsample", (None, 2, "nearest"), 1, ()),
    ("Concat", (1,), 1, (13, 4)),
    ("C2f", (256,), 3, ()),
    ("Conv", (256, 3, 2), 1, ()),
    ("Concat", (1,), 1, (16, 12)),
    ("C2f", (512,), 3, ()),
    ("Conv", (512, 3, 2), 1, ()),
    ("Concat", (1,), 1, (19, 9)),
    ("C2f", (1024,), 3, ()),
    ("Detect", ("nc",), 1, (15, 18, 21)),
)


def described_at(scale: Scale, nc: int) -> Layout:
    """The description at any scale, also one that YOLOv8 was not released in."""
    return described(f"yolov8{scale.name}", LINES, scale, nc, N_BACKBONE)


def yolov8(scale: str, nc: int = 80) -> Layout:
    """YOLOv8 at scale n, s, m, l or x for `nc` classes. Layer ids are the numbers of the published layout."""
    return described_at(SCALES[scale], nc)
