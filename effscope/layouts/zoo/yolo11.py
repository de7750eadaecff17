"""YOLO11, YOLO12 and YOLO26: C3k2 stages, attention, the light class head. Source: the published layouts."""

from __future__ import annotations

from dataclasses import replace

from effscope.layouts.blocks.heads import without_defaults
from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale

SCALES = {
    "n": Scale("n", 0.50, 0.25, 1024),
    "s": Scale("s", 0.50, 0.50, 1024),
    "m": Scale("m", 0.50, 1.00, 512),
    "l": Scale("l", 1.00, 1.00, 512),
    "x": Scale("x", 1.00, 1.50, 512),
}
NESTED_FROM = "mlx"
"""Sizes with C3s in every C3k2."""

RESIDUAL_AT = "lx"
"""Sizes with residual area attention and a narrow feed-forward."""

FORMS_26 = ("", "-p2", "-p6")


def _c3k2(scale: str, c: int, nested: bool, *rest: object, repeats: int = 2) -> Line:
    return ("C3k2", (c, nested or scale in NESTED_FROM, *rest), repeats, ())


def _body(scale: str, widths: tuple[int, ...]) -> tuple[list[Line], list[int]]:
    """Backbone lines up to the last stage, and the positions of the maps from level 2 (stride 4) on."""
    lines: list[Line] = [("Conv", (64, 3, 2), 1, ()), ("Conv", (128, 3, 2), 1, ())]
    taps = []
    for n, c in enumerate(widths):
        if n:
            lines.append(("Conv", (c if n > 1 else 256, 3, 2), 1, ()))
        lines.append(_c3k2(scale, c, False, 0.25) if n < 2 else _c3k2(scale, c, True))  # noqa: PLR2004
        taps.append(len(lines) - 1)
    return lines, taps


def _headed(layout: Layout, pairing: str = "o2m", reg_max: int = 16) -> Layout:
    """The layout with the light class head of these families."""
    args = without_defaults(("nc", "light", pairing, reg_max))
    return layout.swap([replace(layout.layers[-1], args=args)])


def yolo11(scale: str, nc: int = 80) -> Layout:
    """YOLO11 at scale n, s, m, l or x."""
    body, taps = _body(scale, (256, 512, 512, 1024))
    body += [("SPPF", (1024, 5), 1, ()), ("C2PSA", (1024,), 2, ())]
    neck = pyramid(
        len(body), (*taps[1:3], len(body) - 1), (256, 512, 1024), lambda c: _c3k2(scale, c, False),
        last=lambda c: _c3k2(scale, c, True),
    )  # fmt: skip
    return _headed(described(f"yolo11{scale}", (*body, *neck), SCALES[scale], nc, len(body)))


def yolo12(scale: str, nc: int = 80) -> Layout:
    """YOLO12 (arXiv 2502.12524) at scale n, s, m, l or x."""
    extra = (True, 1.2) if scale in RESIDUAL_AT else ()
    body, taps = _body(scale, (256, 512))
    for c, area in ((512, 4), (1024, 1)):
        body += [("Conv", (c, 3, 2), 1, ()), ("A2C2f", (c, True, area, *extra), 4, ())]
        taps.append(len(body) - 1)
    neck = pyramid(
        len(body), taps[1:], (256, 512, 1024), lambda c: ("A2C2f", (c, False, -1, *extra), 2, ()),
        last=lambda c: _c3k2(scale, c, True),
    )  # fmt: skip
    return _headed(described(f"yolo12{scale}", (*body, *neck), SCALES[scale], nc, len(body)))


def yolo26(scale: str, nc: int = 80, form: str = "") -> Layout:
    """YOLO26 at scale n, s, m, l or x: no DFL, two heads; `form` is "", "-p2" or "-p6"."""
    p6 = form == "-p6"
    body, taps = _body(scale, (256, 512, 512, 768, 1024) if p6 else (256, 512, 512, 1024))
    body += [("SPPF", (1024, 5, 3, not p6), 1, ()), ("C2PSA", (1024,), 2, ())]
    levels = [*taps[:-1], len(body) - 1][0 if form == "-p2" else 1 :]
    widths = (128, 256, 512, 768, 1024) if p6 else (128, 256, 512, 1024)
    neck = pyramid(
        len(body), levels, widths[-len(levels) :], lambda c: _c3k2(scale, c, True),
        last=lambda c: _c3k2(scale, c, True, 0.5, True, repeats=1),
    )  # fmt: skip
    lines = (*body, *neck)
    return _headed(described(f"yolo26{scale}{form}", lines, SCALES[scale], nc, len(body)), "dual", 1)
