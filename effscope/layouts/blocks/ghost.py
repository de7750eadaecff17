"""Ghost modules: a convolution computes half of the channels, a cheap depthwise convolution of them the other half."""

from __future__ import annotations

from effscope.layouts.blocks.convs import Act
from effscope.spec.emit import Emitter, Value

CHEAP_KERNEL = 5


def ghost_conv(e: Emitter, x: Value, c_out: int, k: int = 1, s: int = 1, groups: int = 1, act: Act = True) -> Value:
    """Conv k x k to c_out / 2, a depthwise 5x5 of it, concatenated. Source: GhostNet (arXiv 1911.11907), ratio 2."""
    y = e.conv("cv1", x, c_out // 2, k, s, groups=groups, act=act)
    return e.concat("cat", [y, e.depthwise("cv2", y, CHEAP_KERNEL, act=act)])


def ghost_bottleneck(e: Emitter, x: Value, c_out: int, k: int = 3, s: int = 1) -> Value:
    """Ghost module to c_out / 2, at stride 2 a depthwise k x k, ghost module to c_out, plus the input."""
    inner, short = e.at("conv"), e.at("shortcut")
    y = ghost_conv(inner.at(0), x, c_out // 2)
    if s > 1:
        y = inner.depthwise(1, y, k, s, act=False)
        x = short.conv(1, short.depthwise(0, x, k, s, act=False), c_out, act=False)
    return e.add("add", ghost_conv(inner.at(2), y, c_out, act=False), x)
