"""Blocks of stages: cross-stage partial blocks of the YOLO families, and their inner blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from effscope.errors import EffscopeError
from effscope.layouts.blocks.attention import area_block, psa_block, psa_heads
from effscope.layouts.blocks.ghost import ghost_bottleneck
from effscope.spec.emit import Emitter, Value, portion

Inner = Callable[[Emitter, Value], Value]
Kernel = int | tuple[int, int]

AREA_HEAD = 32
"""Channels of a head in YOLO12's area attention."""


def bottleneck(
    e: Emitter,
    x: Value,
    shortcut: bool = True,
    groups: int = 1,
    kernels: tuple[Kernel, Kernel] = (3, 3),
    expansion: float = 1.0,
    c_out: int | None = None,
) -> Value:
    """Two convolutions c -> expansion*c_out -> c_out, plus the input if `shortcut` and shapes are equal.

    Source: YOLOv8; 18c^2 + 4c parameters for 3x3, 3x3 and equal channels.
    """
    c_out = x.c if c_out is None else c_out
    y = e.conv("cv1", x, portion(c_out, expansion), kernels[0])
    y = e.conv("cv2", y, c_out, kernels[1], groups=groups)
    return e.add("add", x, y) if shortcut and x.c == c_out else y


def bottleneck_layer(
    e: Emitter, x: Value, c_out: int, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
) -> Value:
    """A Bottleneck as a layer. Source: YOLOv3 and YOLOv5."""
    return bottleneck(e, x, shortcut, groups, expansion=expansion, c_out=c_out)


def rep_vgg_dw(e: Emitter, x: Value) -> Value:
    """SiLU of a depthwise 7x7 plus a depthwise 3x3, each with BatchNorm; the deploy form merges both into one 7x7."""
    large = e.depthwise("conv", x, 7, act=False)
    small = e.depthwise("conv1", x, 3, act=False)
    return e.act(e.add("add", large, small), "silu")


def rep_conv(e: Emitter, x: Value, c_out: int) -> Value:
    """Activation of a 3x3 plus a pointwise, each with BatchNorm; mergeable too. Source: arXiv 2101.03697."""
    large = e.conv("conv1", x, c_out, 3, act=False)
    small = e.conv("conv2", x, c_out, act=False)
    return e.act(e.add("add", large, small))


def cib(e: Emitter, x: Value, shortcut: bool = True, large_kernel: bool = False) -> Value:
    """Compact inverted block: dw3x3, pw c -> 2c, dw3x3 (or 7x7 with `large_kernel`), pw 2c -> c, dw3x3.

    Source: YOLOv10 (arXiv 2405.14458, section 3.2); 4c^2 + 50c parameters, the large kernel adds 102c.
    """
    cv1 = e.at("cv1")
    y = cv1.conv(1, cv1.depthwise(0, x, 3), 2 * x.c)
    y = rep_vgg_dw(cv1.at(2), y) if large_kernel else cv1.depthwise(2, y, 3)
    y = cv1.depthwise(4, cv1.conv(3, y, x.c), 3)
    return e.add("add", x, y) if shortcut else y


def _c2f(e: Emitter, x: Value, c_out: int, n: int, inner: Inner, expansion: float = 0.5) -> Value:
    c = portion(c_out, expansion)
    parts = e.split("split", e.conv("cv1", x, 2 * c), (c, c))
    for i in range(n):
        parts.append(inner(e.at("m", i), parts[-1]))
    return e.conv("cv2", e.concat("cat", parts), c_out)


def c2f(
    e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = False, groups: int = 1, expansion: float = 0.5
) -> Value:
    """Pointwise to 2c, split, n Bottlenecks in series on the second half, all concatenated, pointwise to c_out."""
    return _c2f(e, x, c_out, n, partial(bottleneck, shortcut=shortcut, groups=groups), expansion)


def c2f_cib(e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = False, large_kernel: bool = False) -> Value:
    """C2f with CIBs inside."""
    return _c2f(e, x, c_out, n, partial(cib, shortcut=shortcut, large_kernel=large_kernel))


def c3k2(
    e: Emitter,
    x: Value,
    c_out: int,
    n: int = 1,
    c3k: bool = False,
    expansion: float = 0.5,
    attention: bool = False,
    groups: int = 1,
    shortcut: bool = True,
) -> Value:
    """C2f with inner Bottlenecks of half width. Source: YOLO11.

    With `c3k`: C3s of two Bottlenecks instead. With `attention`: an attention block after each Bottleneck.
    """

    def plain(inner: Emitter, y: Value) -> Value:
        return bottleneck(inner, y, shortcut, groups, expansion=0.5)

    def attended(inner: Emitter, y: Value) -> Value:
        z = plain(inner.at(0), y)
        return psa_block(inner.at(1), z, psa_heads(z.c))

    def nested(inner: Emitter, y: Value) -> Value:
        return _c3(inner, y, y.c, 2, partial(bottleneck, shortcut=shortcut, groups=groups))

    return _c2f(e, x, c_out, n, attended if attention else nested if c3k else plain, expansion)


def c2f_psa(e: Emitter, x: Value, c_out: int, n: int = 1, expansion: float = 0.5) -> Value:
    """C2f with attention blocks inside."""
    c = portion(c_out, expansion)
    return _c2f(e, x, c_out, n, lambda inner, y: psa_block(inner, y, psa_heads(c)), expansion)


def a2c2f(
    e: Emitter,
    x: Value,
    c_out: int,
    n: int = 1,
    attention: bool = True,
    area: int = 1,
    residual: bool = False,
    mlp_ratio: float = 2.0,
    expansion: float = 0.5,
    groups: int = 1,
    shortcut: bool = True,
) -> Value:
    """Pointwise, n pairs of area-attention blocks (or n C3s) in series, all outputs concatenated, pointwise to c_out.

    `residual` scales the output by a trained gamma per channel and adds the input. Source: YOLO12 (arXiv 2502.12524).
    Raises EffscopeError if the inner channels are not a multiple of `AREA_HEAD`.
    """
    c = portion(c_out, expansion)
    if c % AREA_HEAD:
        raise EffscopeError(f"{e.path}: area attention needs a multiple of {AREA_HEAD} inner channels, got {c}")
    parts = [e.conv("cv1", x, c)]
    for i in range(n):
        inner, y = e.at("m", i), parts[-1]
        if attention:
            for j in range(2):
                y = area_block(inner.at(j), y, c // AREA_HEAD, mlp_ratio, area)
        else:
            y = _c3(inner, y, c, 2, partial(bottleneck, shortcut=shortcut, groups=groups))
        parts.append(y)
    y = e.conv("cv2", e.concat("cat", parts), c_out)
    if not (attention and residual):
        return y
    gamma = e.parameter("gamma", (c_out,), 0.01)
    gamma = e.same("unflatten", "gamma_map", gamma, dim=0, sizes=(c_out, 1, 1))
    return e.add("add", x, e.mul("scaled", y, gamma))


def _c3(e: Emitter, x: Value, c_out: int, n: int, inner: Inner, expansion: float = 0.5) -> Value:
    c = portion(c_out, expansion)
    y = e.conv("cv1", x, c)
    for i in range(n):
        y = inner(e.at("m", i), y)
    return e.conv("cv3", e.concat("cat", [y, e.conv("cv2", x, c)]), c_out)


def c3(
    e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
) -> Value:
    """Pointwise and n Bottlenecks (1x1, 3x3), parallel to a pointwise; concatenated; pointwise. Source: YOLOv5."""
    return _c3(e, x, c_out, n, partial(bottleneck, shortcut=shortcut, groups=groups, kernels=(1, 3)), expansion)


def c3x(
    e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
) -> Value:
    """C3 with cross convolutions (1x3, 3x1) inside."""
    crossed = partial(bottleneck, shortcut=shortcut, groups=groups, kernels=((1, 3), (3, 1)))
    return _c3(e, x, c_out, n, crossed, expansion)


def c3_ghost(
    e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
) -> Value:
    """C3 with ghost bottlenecks inside; they always add their input."""
    return _c3(e, x, c_out, n, lambda inner, y: ghost_bottleneck(inner, y, y.c), expansion)


def c1(e: Emitter, x: Value, c_out: int, n: int = 1) -> Value:
    """Pointwise to c_out plus n 3x3 convolutions of it."""
    start = y = e.conv("cv1", x, c_out)
    for i in range(n):
        y = e.conv(f"m.{i}", y, c_out, 3)
    return e.add("add", y, start)


def c2(
    e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = True, groups: int = 1, expansion: float = 0.5
) -> Value:
    """Pointwise to 2c, split, n Bottlenecks on the first half, both concatenated, pointwise to c_out."""
    c = portion(c_out, expansion)
    a, b = e.split("split", e.conv("cv1", x, 2 * c), (c, c))
    for i in range(n):
        a = bottleneck(e.at("m", i), a, shortcut, groups)
    return e.conv("cv2", e.concat("cat", [a, b]), c_out)


def rep_c3(e: Emitter, x: Value, c_out: int, n: int = 3, expansion: float = 1.0) -> Value:
    """Pointwise and n RepConvs, plus a second pointwise; a third to c_out only if widths differ. Source: RT-DETR."""
    c = portion(c_out, expansion)
    y = e.conv("cv1", x, c)
    for i in range(n):
        y = rep_conv(e.at("m", i), y, c)
    y = e.add("add", y, e.conv("cv2", x, c))
    return y if c == c_out else e.conv("cv3", y, c_out)


def _rep_csp(e: Emitter, x: Value, c_out: int, n: int) -> Value:
    """C3 with Bottlenecks that begin with a RepConv and add their input."""

    def inner(at: Emitter, y: Value) -> Value:
        z = at.conv("cv2", rep_conv(at.at("cv1"), y, y.c), y.c, 3)
        return at.add("add", y, z)

    return _c3(e, x, c_out, n, inner)


def rep_ncspelan4(e: Emitter, x: Value, c_out: int, c_split: int, c_part: int, depth: int = 1) -> Value:
    """Pointwise to c_split, split; two RepCSPs, each with a 3x3, in series on the second half; concatenated; pointwise.

    Source: GELAN of YOLOv9 (arXiv 2402.13616).
    """
    half = c_split // 2
    parts = e.split("split", e.conv("cv1", x, c_split), (c_split - half, half))
    for name in ("cv2", "cv3"):
        inner = e.at(name)
        parts.append(inner.conv(1, _rep_csp(inner.at(0), parts[-1], c_part, depth), c_part, 3))
    return e.conv("cv4", e.concat("cat", parts), c_out)


def elan1(e: Emitter, x: Value, c_out: int, c_split: int, c_part: int) -> Value:
    """RepNCSPELAN4 with one 3x3 instead of each RepCSP. Source: YOLOv9, small sizes."""
    half = c_split // 2
    parts = e.split("split", e.conv("cv1", x, c_split), (c_split - half, half))
    for name in ("cv2", "cv3"):
        parts.append(e.conv(name, parts[-1], c_part, 3))
    return e.conv("cv4", e.concat("cat", parts), c_out)
