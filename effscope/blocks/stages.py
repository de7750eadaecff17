"""The blocks a stage is made of: C2f and what YOLOv10 puts in its place, and the pooling pyramid at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from effscope.spec.emit import Emitter, Value

Inner = Callable[[Emitter, Value], Value]


def bottleneck(e: Emitter, x: Value, shortcut: bool = True) -> Value:
    """Two 3x3 convolutions c -> c -> c, plus the input if `shortcut`. Source: YOLOv8; 18c^2 + 4c parameters."""
    y = e.conv("cv2", e.conv("cv1", x, x.c, 3), x.c, 3)
    return e.add("add", x, y) if shortcut else y


def rep_vgg_dw(e: Emitter, x: Value) -> Value:
    """SiLU of a depthwise 7x7 plus a depthwise 3x3, each with BatchNorm; deploy form merges them into one 7x7."""
    large = e.depthwise("conv", x, 7, act=False)
    small = e.depthwise("conv1", x, 3, act=False)
    return e.same("silu", "act", e.add("add", large, small))


def cib(e: Emitter, x: Value, shortcut: bool = True, large_kernel: bool = False) -> Value:
    """Compact inverted block: dw3x3, pw c -> 2c, dw3x3 (or 7x7 with `large_kernel`), pw 2c -> c, dw3x3.

    Source: YOLOv10 (arXiv 2405.14458, section 3.2); 4c^2 + 50c parameters, the large kernel adds 102c.
    """
    cv1 = e.at("cv1")
    y = cv1.conv(1, cv1.depthwise(0, x, 3), 2 * x.c)
    y = rep_vgg_dw(cv1.at(2), y) if large_kernel else cv1.depthwise(2, y, 3)
    y = cv1.depthwise(4, cv1.conv(3, y, x.c), 3)
    return e.add("add", x, y) if shortcut else y


def _c2f(e: Emitter, x: Value, c_out: int, n: int, inner: Inner) -> Value:
    c = c_out // 2
    parts = e.split("split", e.conv("cv1", x, 2 * c), (c, c))
    for i in range(n):
        parts.append(inner(e.at("m", i), parts[-1]))
    return e.conv("cv2", e.concat("cat", parts), c_out)


def c2f(e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = False) -> Value:
    """Pointwise to 2c, split, n Bottlenecks in a chain on the second half, all parts joined, pointwise to c_out."""
    return _c2f(e, x, c_out, n, partial(bottleneck, shortcut=shortcut))


def c2f_cib(e: Emitter, x: Value, c_out: int, n: int = 1, shortcut: bool = False, large_kernel: bool = False) -> Value:
    """C2f with CIBs inside."""
    return _c2f(e, x, c_out, n, partial(cib, shortcut=shortcut, large_kernel=large_kernel))


def sppf(e: Emitter, x: Value, c_out: int, k: int = 5) -> Value:
    """Pointwise to half, three max poolings k x k in series, the four maps joined, pointwise to c_out."""
    pools = [e.conv("cv1", x, x.c // 2)]
    for i in range(3):
        pools.append(e.same("maxpool", f"m@{i + 1}" if i else "m", pools[-1], k=k, s=1, p=k // 2))
    return e.conv("cv2", e.concat("cat", pools), c_out)
