"""Blocks of classification networks that serve as backbones: HGNet and ResNet. Source: RT-DETR's repositories."""

from __future__ import annotations

from effscope.errors import EffscopeError
from effscope.layouts.blocks.convs import light_conv
from effscope.spec.emit import Emitter, Value

RELU = "relu"


def hg_stem(e: Emitter, x: Value, c_mid: int, c_out: int) -> Value:
    """Two 3x3 of stride 2; between them a pooling parallel to two 2x2 convolutions. Source: PP-HGNetV2."""
    x = e.conv("stem1", x, c_mid, 3, 2, act=RELU)
    x = _pad_right_bottom(e, "pad", x)
    y = _pad_right_bottom(e, "pad1", e.conv("stem2a", x, c_mid // 2, 2, p=0, act=RELU))
    y = e.conv("stem2b", y, c_mid, 2, p=0, act=RELU)
    x = e.concat("cat", [e.pool("maxpool", "pool", x, 2, 1, 0), y])
    return e.conv("stem4", e.conv("stem3", x, c_mid, 3, 2, act=RELU), c_out, act=RELU)


def _pad_right_bottom(e: Emitter, name: str, x: Value) -> Value:
    return e.same("pad", name, x, sides=(0, 1, 0, 1), value=0.0)


def hg_block(
    e: Emitter, x: Value, c_mid: int, c_out: int, k: int = 3, n: int = 6, light: bool = False, shortcut: bool = False
) -> Value:
    """n convolutions in series; input and all outputs concatenated; pointwise to c_out / 2, pointwise to c_out.

    Source: PP-HGNetV2. With `light` each convolution is a pointwise and a depthwise one.
    """
    parts = [x]
    for i in range(n):
        at = e.at("m", i)
        y = light_conv(at, parts[-1], c_mid, k) if light else at.unit(parts[-1], c_mid, k, act=RELU)
        parts.append(y)
    y = e.conv("sc", e.concat("cat", parts), c_out // 2, act=RELU)
    y = e.conv("ec", y, c_out, act=RELU)
    return e.add("add", x, y) if shortcut and x.c == c_out else y


def resnet_layer(
    e: Emitter, x: Value, c_in: int, c_mid: int, s: int = 1, first: bool = False, depth: int = 1, ratio: int = 4
) -> Value:
    """A stage of a bottleneck ResNet (arXiv 1512.03385); with `first` its stem.

    The inner convolutions have the model's activation; the sum has a ReLU. Raises EffscopeError for other channels
    than `c_in`.
    """
    if x.c != c_in:
        raise EffscopeError(f"{e.path}: it needs {c_in} channels, got {x.c}")
    inner = e.at("layer")
    if first:
        return inner.pool("maxpool", "1", inner.conv(0, x, c_mid, 7, 2, p=3), 3, 2, 1)
    for i in range(depth):
        x = _resnet_block(inner.at(i), x, c_mid, s if i == 0 else 1, ratio)
    return x


def _resnet_block(e: Emitter, x: Value, c: int, s: int, ratio: int) -> Value:
    y = e.conv("cv2", e.conv("cv1", x, c), c, 3, s)
    short = e.at("shortcut").conv(0, x, ratio * c, 1, s, act=False) if s != 1 or x.c != ratio * c else x
    y = e.conv("cv3", y, ratio * c, act=False)
    return e.act(e.add("add", y, short), RELU)
