"""Single convolutions, downsampling, pooling, and blocks that combine several maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from effscope.errors import EffscopeError
from effscope.spec.emit import Emitter, Value

Act = bool | str


def conv(
    e: Emitter,
    x: Value,
    c_out: int,
    k: int = 1,
    s: int = 1,
    p: int | None = None,
    groups: int = 1,
    d: int = 1,
    act: Act = True,
) -> Value:
    """Conv2d without bias, BatchNorm, activation. Source: YOLOv8; k*k*c_in*c_out/groups + 2*c_out parameters."""
    p = (d * (k - 1) + 1) // 2 if p is None else p
    y = e.conv2d(x, c_out, k, s, p=p, groups=groups, d=d)
    return e.act(e.norm(y), act)


def dwconv(e: Emitter, x: Value, c_out: int, k: int = 1, s: int = 1, d: int = 1, act: Act = True) -> Value:
    """A conv unit with gcd(c_in, c_out) groups: depthwise if both are equal."""
    return conv(e, x, c_out, k, s, None, math.gcd(x.c, c_out), d, act)


def light_conv(e: Emitter, x: Value, c_out: int, k: int = 1, act: Act = "relu") -> Value:
    """Pointwise without activation, then depthwise k x k. Source: PP-HGNetV2, as in RT-DETR (arXiv 2304.08069)."""
    return e.depthwise("conv2", e.conv("conv1", x, c_out, act=False), k, act=act)


def focus(
    e: Emitter, x: Value, c_out: int, k: int = 1, s: int = 1, p: int | None = None, groups: int = 1, act: Act = True
) -> Value:
    """Space to depth (four pixels become channels, no parameters), then a conv unit. Source: YOLOv5, YOLOX."""
    y = e.node("space_to_depth", "cells", (x,), 4 * x.c, 2 * x.stride)
    return conv(e.at("conv"), y, c_out, k, s, p, groups, 1, act)


def scdown(e: Emitter, x: Value, c_out: int, k: int = 3, s: int = 2) -> Value:
    """Decoupled downsampling: pointwise to c_out, then a depthwise k x k with the stride, no activation.

    Source: YOLOv10 (arXiv 2405.14458, section 3.2): 2C^2 + 18C weights for C -> 2C at k=3 against 18C^2.
    """
    return e.depthwise("cv2", e.conv("cv1", x, c_out), k, s, act=False)


def aconv(e: Emitter, x: Value, c_out: int) -> Value:
    """2x2 average pooling of stride 1, then a 3x3 conv unit of stride 2. Source: YOLOv9 (arXiv 2402.13616)."""
    return e.conv("cv1", e.pool("avgpool", "mean", x, 2, 1, 0), c_out, 3, 2)


def adown(e: Emitter, x: Value, c_out: int) -> Value:
    """2x2 average pooling of stride 1; then half of the channels by a 3x3 of stride 2, half by pooling and a pointwise.

    Source: YOLOv9 (arXiv 2402.13616).
    """
    y = e.pool("avgpool", "mean", x, 2, 1, 0)
    a, b = e.split("split", y, (x.c // 2, x.c - x.c // 2))
    first = e.conv("cv1", a, c_out // 2, 3, 2)
    second = e.conv("cv2", e.pool("maxpool", "max", b, 3, 2, 1), c_out // 2)
    return e.concat("cat", [first, second])


def conv_transpose2d(e: Emitter, x: Value, c_out: int, k: int = 1, s: int = 1, p: int = 0) -> Value:
    """A single transposed convolution with bias; the layer has no submodules."""
    return _transposed(e, x, c_out, k, s, p, "", bias=True)


def conv_transpose(e: Emitter, x: Value, c_out: int, k: int = 2, s: int = 2, p: int = 0) -> Value:
    """A transposed convolution, BatchNorm, activation."""
    return e.act(e.norm(_transposed(e, x, c_out, k, s, p, "conv_transpose", bias=False)))


def _transposed(e: Emitter, x: Value, c_out: int, k: int, s: int, p: int, name: str, *, bias: bool) -> Value:
    if x.stride % s:
        raise EffscopeError(f"{e.path}: a map of stride {x.stride} cannot be enlarged {s} times")
    return e.node(
        "conv_transpose2d", name, (x,), c_out, x.stride // s,
        c_in=x.c, c_out=c_out, k=(k, k), s=(s, s), p=(p, p), op=(0, 0), d=(1, 1), groups=1, bias=bias,
    )  # fmt: skip


def max_pool(e: Emitter, x: Value, k: int, s: int | None = None, p: int = 0) -> Value:
    """Max pooling k x k; the stride is k by default."""
    return e.pool("maxpool", "pool", x, k, k if s is None else s, p)


def zero_pad(e: Emitter, x: Value, sides: tuple[int, int, int, int]) -> Value:
    """Zero padding; `sides` are left, right, top, bottom."""
    return e.same("pad", "pad", x, sides=tuple(sides), value=0.0)


def identity(e: Emitter, x: Value) -> Value:
    """The input, unchanged."""
    return x


def upsample(e: Emitter, x: Value, size: None = None, scale: int = 2, mode: str = "nearest") -> Value:
    """Enlarge height and width by an integer factor."""
    return e.node("upsample", "up", (x,), x.c, max(x.stride // scale, 1), scale=scale, mode=mode)


def concat(e: Emitter, xs: Sequence[Value], dim: int = 1) -> Value:
    """Concatenate several maps over channels."""
    return e.concat("cat", list(xs))


def spp(e: Emitter, x: Value, c_out: int, kernels: tuple[int, ...] = (5, 9, 13)) -> Value:
    """Pointwise to half, parallel poolings of several sizes, concatenated, pointwise to c_out. Source: YOLOv3-SPP."""
    y = e.conv("cv1", x, x.c // 2)
    pools = [e.at("m").pool("maxpool", str(i), y, k) for i, k in enumerate(kernels)]
    return e.conv("cv2", e.concat("cat", [y, *pools]), c_out)


def sppf(e: Emitter, x: Value, c_out: int, k: int = 5, n_pools: int | None = None, shortcut: bool = False) -> Value:
    """Pointwise to half, three poolings k x k in series, all concatenated, pointwise to c_out.

    With `n_pools` it is YOLO26's form: the first pointwise has no activation, and `shortcut` adds the input.
    """
    pools = [e.conv("cv1", x, x.c // 2, act=n_pools is None)]
    for i in range(3 if n_pools is None else n_pools):
        pools.append(e.pool("maxpool", f"m@{i + 1}" if i else "m", pools[-1], k))
    y = e.conv("cv2", e.concat("cat", pools), c_out)
    return e.add("add", x, y) if shortcut and x.c == c_out else y


def sppelan(e: Emitter, x: Value, c_out: int, c_hidden: int, k: int = 5) -> Value:
    """Pointwise to c_hidden, three poolings in series, all concatenated, pointwise to c_out. Source: YOLOv9."""
    pools = [e.conv("cv1", x, c_hidden)]
    for name in ("cv2", "cv3", "cv4"):
        pools.append(e.pool("maxpool", name, pools[-1], k))
    return e.conv("cv5", e.concat("cat", pools), c_out)


def cb_linear(e: Emitter, x: Value, widths: tuple[int, ...], k: int = 1, s: int = 1) -> list[Value]:
    """A convolution with bias; its output is split into several maps. Source: CBNet, as in arXiv 2402.13616."""
    y = e.conv2d(x, sum(widths), k, s, bias=True)
    return e.split("maps", y, tuple(widths))


def cb_fuse(e: Emitter, xs: Sequence[Value | Sequence[Value]], picks: tuple[int, ...]) -> Value:
    """The last map plus one map of each other layer, resized to it. Source: CBNet, as in arXiv 2402.13616.

    `picks`: for each other layer the position of its map. Raises EffscopeError if they do not fit the inputs.
    """
    *others, last = xs
    if not isinstance(last, Value):
        raise EffscopeError(f"{e.path}: the last source has several maps, it must have one")
    if len(picks) != len(others):
        raise EffscopeError(f"{e.path}: {len(picks)} picks for {len(others)} layers before the last")
    sums = []
    for i, (maps, pick) in enumerate(zip(others, picks, strict=True)):
        if not isinstance(maps, Value) and pick >= len(maps):
            raise EffscopeError(f"{e.path}: picks map {pick} of a layer with {len(maps)} maps")
        chosen = maps if isinstance(maps, Value) else maps[pick]
        sums.append(e.node("resize_as", f"resized{i}", (chosen, last), chosen.c, last.stride, mode="nearest"))
    return e.node("add", "add", (*sums, last), last.c, last.stride)
