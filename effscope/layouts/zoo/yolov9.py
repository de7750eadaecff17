"""YOLOv9 t, s, m, c and e. Source: arXiv 2402.13616; widths from the published layouts."""

from __future__ import annotations

from dataclasses import dataclass

from effscope.layouts.zoo.describe import Line, described
from effscope.layouts.zoo.pyramid import pyramid
from effscope.spec.layout import Layout, Scale


@dataclass(frozen=True)
class Size:
    """Widths, depth and blocks of a size.

    Attributes:
        stem: channels of the first two convolutions.
        stages: c_out and c_split of each backbone stage; c_part is half of c_split.
        down: channels of the backbone's downsampling lines.
        neck: c_out and c_split of the neck's levels, finest first.
        neck_down: channels of the neck's downsampling lines.
        depth: number of bottlenecks in each RepCSP.
        spp: c_out of the pooling; its hidden width is half of it.
        small: whether the first stage is an ELAN1.
        halving: block that halves the map.
    """

    stem: tuple[int, int]
    stages: tuple[tuple[int, int], ...]
    down: tuple[int, ...]
    neck: tuple[tuple[int, int], ...]
    neck_down: tuple[int, int]
    depth: int
    spp: int
    small: bool = False
    halving: str = "AConv"


def _even(stem: int, widths: tuple[int, int, int, int], depth: int, small: bool) -> Size:
    """A size with all widths derived from those of its stages."""
    stages = tuple((c, c) for c in widths)
    down = (widths[2] // 2, widths[3] // 2)
    return Size((stem, 2 * stem), stages, widths[1:], stages[1:], down, depth, widths[3], small)


WIDE = ((256, 128), (512, 256), (512, 512), (512, 512))

SIZES = {
    "t": _even(16, (32, 64, 96, 128), 3, small=True),
    "s": _even(32, (64, 128, 192, 256), 3, small=True),
    "m": _even(32, (128, 240, 360, 480), 1, small=False),
    "c": Size(
        (64, 128), WIDE, (256, 512, 512), ((256, 256), (512, 512), (512, 512)), (256, 512), 1, 512, halving="ADown"
    ),
}

DEEP = ((256, 128), (512, 256), (1024, 512), (1024, 512))
"""Stages of size e. It has them twice; the second pass also reads all outputs of the first."""

DEEP_WIDTHS = (64, 128, 256, 512, 1024)


def _elan(c_out: int, c_split: int, depth: int) -> Line:
    return ("RepNCSPELAN4", (c_out, c_split, c_split // 2, depth), 1, ())


def _lines(size: Size) -> tuple[tuple[Line, ...], int]:
    body: list[Line] = [("Conv", (c, 3, 2), 1, ()) for c in size.stem]
    for n, (c_out, c_split) in enumerate(size.stages):
        if n:
            body.append((size.halving, (size.down[n - 1],), 1, ()))
        first_small = size.small and n == 0
        body.append(
            ("ELAN1", (c_out, c_split, c_split // 2), 1, ()) if first_small else _elan(c_out, c_split, size.depth)
        )
    body.append(("SPPELAN", (size.spp, size.spp // 2), 1, ()))
    splits = dict(size.neck)
    downs = iter(size.neck_down)
    neck = pyramid(
        len(body),
        (4, 6, len(body) - 1),
        [c_out for c_out, _ in size.neck],
        lambda c: _elan(c, splits[c], size.depth),
        down=lambda _: (size.halving, (next(downs),), 1, ()),
    )
    return (*body, *neck), len(body)


def _deep() -> tuple[tuple[Line, ...], int]:
    lines: list[Line] = [("Identity", (), 1, ()), ("Conv", (64, 3, 2), 1, ()), ("Conv", (128, 3, 2), 1, ())]
    for n, (c_out, c_split) in enumerate(DEEP):
        if n:
            lines.append(("ADown", (DEEP[n - 1][0],), 1, ()))
        lines.append(_elan(c_out, c_split, 2))
    linear = [len(lines) + i for i in range(5)]
    for i, source in enumerate((1, 3, 5, 7, 9)):
        lines.append(("CBLinear", (DEEP_WIDTHS[: i + 1],), 1, (source,)))
    again: list[Line] = [("Conv", (64, 3, 2), 1, (0,)), ("Conv", (128, 3, 2), 1, ())]
    again += [("ADown", (c_out,), 1, ()) for c_out, _ in DEEP[:3]]
    for i, halving in enumerate(again):
        lines += [halving, ("CBFuse", ((i,) * (5 - i),), 1, (*linear[i:], -1))]
        if i:
            lines.append(_elan(*DEEP[i - 1], 2))
    lines.append(("SPPELAN", (512, 256), 1, ()))
    body = len(lines)
    splits, downs = iter((512, 256, 512, 1024)), iter((256, 512))
    neck = pyramid(
        body, (22, 25, body - 1), (256, 512, 512), lambda c: _elan(c, next(splits), 2),
        down=lambda _: ("ADown", (next(downs),), 1, ()),
    )  # fmt: skip
    return (*lines, *neck), body


def yolov9(size: str, nc: int = 80) -> Layout:
    """YOLOv9 in size t, s, m, c or e."""
    lines, n_backbone = _deep() if size == "e" else _lines(SIZES[size])
    return described(f"yolov9{size}", lines, Scale(), nc, n_backbone)
