"""YOLOX, and the slimming study of its nano size: one description, six scales, five variants.

Source: arXiv 2107.08430 and the repository Megvii-BaseDetection/YOLOX (Apache-2.0). The network reads RGB in 0-1, like
all layouts here; YOLOX's own weights expect BGR in 0-255 (see `checkpoint.identify.yolox_keys`).
"""

from __future__ import annotations

from dataclasses import dataclass

from effscope.layouts.blocks.mobile import Kernels
from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale

SCALES = {
    "nano": Scale("nano", 0.33, 0.25),
    "tiny": Scale("tiny", 0.33, 0.375),
    "s": Scale("s", 0.33, 0.50),
    "m": Scale("m", 0.67, 0.75),
    "l": Scale("l", 1.00, 1.00),
    "x": Scale("x", 1.33, 1.25),
}
WIDTHS, REPEATS = (128, 256, 512, 1024), (3, 9, 9, 3)
"""Nominal channels and inner blocks of dark2-dark5, the backbone's stages at strides 4-32."""


@dataclass(frozen=True)
class ConvForms:
    """Forms (`blocks.yolox.FORMS`) and kernels of the spatial convolutions of a model.

    Attributes:
        body_form, neck_form, head_form: forms of backbone, neck and head.
        dark2, deeper, neck, head: depthwise kernel sides of dark2, of dark3-dark5, of the neck and of the head.
        fine: whether a spatial convolution of stride 2 reduces dark2's map to the size of dark3's; the neck then reads
            both, concatenated.
    """

    body_form: str
    neck_form: str
    head_form: str
    dark2: Kernels = (3,)
    deeper: Kernels = (3,)
    neck: Kernels = (3,)
    head: Kernels = (3,)
    fine: bool = False


LARGE, MIXED, MIXED_DARK2 = (7,), (3, 5, 7, 9), (3, 5)

VARIANTS = {
    "": ConvForms("separable", "separable", "separable"),
    "-dwconv-vanilla": ConvForms("vanilla", "vanilla", "vanilla"),
    "-dwconv": ConvForms("lean", "lean", "separable", LARGE, LARGE, LARGE, head=(5,)),
    "-mixconv": ConvForms("lean", "separable", "separable", MIXED_DARK2, MIXED),
    "-fpn-dark2": ConvForms("separable", "separable", "separable", fine=True),
    "-final": ConvForms("lean", "lean", "separable", MIXED_DARK2, MIXED, LARGE, head=(5,), fine=True),
}
"""Variants of YOLOX-nano in a slimming study on Pascal VOC, reconstructed from its text and figures.

The study describes its changes in words and does not list the convolutions. These simple interpretations fit its
parameters and FLOPs best: a depthwise convolution has no pointwise if it keeps the width (in the CSP layers and in the
neck's downsampling); those that change the width, and the head, keep their pointwise. Figures agree within 2 %, with
batch norms counted as in the YOLOX repository (4 operations per element). The exception is dwconv-vanilla: the study
reports 0.68 M and 0.83 GFLOPs, and no interpretation matches. Without any pointwise half, as in its text, 0.73 M and
0.81 GFLOPs remain: all halves together have 0.17 M parameters, but the study's base and vanilla differ by 0.22 M.
"""

VOC_CLASSES, DEFAULT_CLASSES = 20, 80


FULL = ConvForms("dense", "dense", "dense")
"""The sizes above nano."""


def _down(c: int, kernels: Kernels, form: str, *sources: int) -> Line:
    if form == "dense":
        return ("Conv", (c, *kernels, 2), 1, sources)
    return ("SpatialConv", (c, kernels, 2, form), 1, sources)


def _stage(c: int, repeats: int, shortcut: bool, kernels: Kernels, form: str) -> Line:
    if form == "dense":
        return ("C3", (c, shortcut), repeats, ())
    return ("CSPLayer", (c, shortcut, kernels, form), repeats, ())


def lines(v: ConvForms) -> tuple[tuple[Line, ...], int]:
    """The lines of a model, and the number of lines of its backbone."""
    body: list[Line] = [("Focus", (64, 3), 1, ())]
    ends: list[int] = []
    for n, (c, repeats) in enumerate(zip(WIDTHS, REPEATS, strict=True)):
        kernels, last = v.deeper if n else v.dark2, c == WIDTHS[-1]
        body.append(_down(c, kernels, v.body_form, *ends[-1:]))
        if last:
            body.append(("SPP", (c, (5, 9, 13)), 1, ()))
        body.append(_stage(c, repeats, not last, kernels, v.body_form))
        ends.append(len(body) - 1)
        if v.fine and n == 1:
            body += [_down(WIDTHS[0], v.dark2, v.neck_form, ends[0]), ("Concat", (1,), 1, (-1, ends[1]))]
    taps = [ends[1] + 2 if v.fine else ends[1], *ends[2:]]
    *neck, (_, _, _, outputs) = pyramid(
        len(body),
        taps,
        WIDTHS[1:],
        lambda c: _stage(c, 3, False, v.neck, v.neck_form),
        down=lambda c: _down(c, v.neck, v.neck_form),
        lateral=True,
    )
    return (*body, *neck, ("YOLOXHead", ("nc", v.head, v.head_form), 1, outputs)), len(body)


def yolox(size: str, nc: int = 80) -> Layout:
    """YOLOX in size nano, tiny, s, m, l or x; only nano is depthwise-separable."""
    rows, n_backbone = lines(VARIANTS[""] if size == "nano" else FULL)
    return described(f"yolox-{size}", rows, SCALES[size], nc, n_backbone)


def study(variant: str, nc: int = DEFAULT_CLASSES) -> Layout:
    """A model of the study on YOLOX-nano; `variant` is a key of VARIANTS, "" the study's base, `yolox-nano-voc`.

    It has the 20 classes of Pascal VOC if `nc` is the zoo's default of 80.
    """
    rows, n_backbone = lines(VARIANTS[variant])
    classes = VOC_CLASSES if nc == DEFAULT_CLASSES else nc
    return described(f"yolox-nano{variant or '-voc'}", rows, SCALES["nano"], classes, n_backbone)
