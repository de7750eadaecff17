"""Named layers, each with its alternative forms, for `effscope cost --layer`.

A form uses the same blocks as the models, so its numbers and formulas are those of the models.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from effscope.errors import EffscopeError
from effscope.layouts.blocks import attention, convs, ghost, heads, mobile, stages
from effscope.spec.emit import Emitter, Value

STANDARD = "standard"
CONV = re.compile(r"conv(\d+)x(\d+)")
EXPANSION, PATCH, WINDOW, CLASSES = 6, 4, 8, 80

Emit = Callable[[Emitter, Value, Any, int], Value]
"""Emitter, input map, output channels, stride -> output map."""


@dataclass(frozen=True)
class LayerForm:
    """One way to build a layer.

    Attributes:
        name: name in tables.
        emit: writes the form as primitives.
        source: paper or model of the form.
        divides: its output channels must be a multiple of this.
        strides: strides that it can have; empty means any.
        window: the formula is valid for sides that are a multiple of this. Other sides are padded.
    """

    name: str
    emit: Emit
    source: str = ""
    divides: int = 1
    strides: tuple[int, ...] = ()
    window: int = 1

    def fits(self, c_out: int, stride: int, size: int) -> bool:
        """Whether it can be built at these sizes. `size` is the side of the input map."""
        return c_out % self.divides == 0 and (not self.strides or (stride in self.strides and size % stride == 0))


@dataclass(frozen=True)
class NamedLayer:
    """A named layer.

    Attributes:
        forms: its forms; the first is the standard form, the reference for the others.
        scope: what the numbers include, in words.
        widens: output channels and stride can be chosen. Otherwise channels and side do not change.
        divides: its channels must be a multiple of this.
    """

    forms: tuple[LayerForm, ...]
    scope: str
    widens: bool = False
    divides: int = 1


CONVS_ONLY = "convolutions only: no batch norm, no bias"
WHOLE = "parameters with batch norm and bias, as built; MACs of convolutions and matrix products"


def _depthwise_separable(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(e.conv2d(x, x.c, k, s, groups=x.c, name="dw"), c_out, name="pw")


def _decoupled(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(e.conv2d(x, c_out, name="pw"), c_out, k, s, groups=c_out, name="dw")


def _ghost(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    y = e.conv2d(x, c_out // 2, k, s, name="primary")
    cheap = e.conv2d(y, y.c, ghost.CHEAP_KERNEL, groups=y.c, name="cheap")
    return e.concat("cat", [y, cheap])


def _space_to_depth(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(e.node("space_to_depth", "cells", (x,), 4 * x.c, 2 * x.stride), c_out, name="pw")


def conv_layer(k: int) -> NamedLayer:
    """A k x k convolution and its cheaper forms."""

    def of(form: Callable[[Emitter, Value, Any, int, int], Value]) -> Emit:
        return lambda e, x, c_out, s: form(e, x, c_out, k, s)

    forms = (
        LayerForm(STANDARD, lambda e, x, c_out, s: e.conv2d(x, c_out, k, s, name="conv")),
        LayerForm("depthwise-separable (dw, pw)", of(_depthwise_separable), "arXiv 1704.04861"),
        LayerForm("decoupled (pw, dw)", of(_decoupled), "YOLOv10 (arXiv 2405.14458, 3.2)"),
        LayerForm("ghost (half, dw 5x5)", of(_ghost), "arXiv 1911.11907, ratio 2", divides=2),
        LayerForm("space to depth, pw", of(_space_to_depth), "arXiv 2208.03641", strides=(2,)),
    )
    return NamedLayer(forms, CONVS_ONLY, widens=True)


def _classic(e: Emitter, x: Value, c: Any, s: int) -> Value:
    y = e.conv("cv2", e.conv("cv1", x, c // 4), c // 4, 3)
    return e.add("add", x, e.conv("cv3", y, c, act=False))


def _convnext(e: Emitter, x: Value, c: Any, s: int) -> Value:
    y = e.same("flatten", "flat", e.conv2d(x, c, 7, groups=c, bias=True, name="dw"), start=2, end=3)
    y = e.node("transpose", "tokens", (y,), c, x.stride, dims=(1, 2))
    y = e.same("layernorm", "norm", y, c=c, eps=1e-6, affine=True)
    y = e.node("linear", "fc1", (y,), 4 * c, x.stride, c_in=c, c_out=4 * c, bias=True)
    y = e.node("linear", "fc2", (e.same("gelu", "act", y),), c, x.stride, c_in=4 * c, c_out=c, bias=True)
    y = e.mul("scaled", y, e.node("parameter", "gamma", (), c, x.stride, shape=(c,), value=1e-6))
    y = e.node("transpose", "channels_first", (y,), c, x.stride, dims=(1, 2))
    return e.add("add", x, e.node("reshape_as", "map", (y, x), c, x.stride))


def _dense_attention(e: Emitter, x: Value, c: Any, s: int) -> Value:
    return e.add("add", x, attention.attention(e.at("attn"), x, attention.psa_heads(c)))


def _window_attention(e: Emitter, x: Value, c: Any, s: int) -> Value:
    return e.add("add", x, attention.window_attention(e.at("attn"), x, attention.psa_heads(c), WINDOW))


def _patch(e: Emitter, x: Value, c: Any, s: int) -> Value:
    return e.conv2d(x, c, PATCH, PATCH, p=0, bias=True, name="proj")


def _stem(e: Emitter, x: Value, c: Any, s: int) -> Value:
    return e.conv("cv2", e.conv("cv1", x, c // 2, 3, 2), c, 3, 2)


def _tower(kind: str) -> Emit:
    return lambda e, x, c, s: heads.CLASS_TOWERS[kind](e, x, c, CLASSES, 0.0)


def _stage(block: Callable[..., Value], **settings: Any) -> Emit:
    return lambda e, x, c, s: block(e, x, c, n=1, **settings)


STAGES = (
    LayerForm("c2f", _stage(stages.c2f, shortcut=True), "YOLOv8, one bottleneck"),
    LayerForm("c3", _stage(stages.c3), "YOLOv5, one bottleneck"),
    LayerForm("c3k2", _stage(stages.c3k2), "YOLO11, one bottleneck"),
    LayerForm("c2fcib", _stage(stages.c2f_cib, shortcut=True), "YOLOv10 (arXiv 2405.14458), one CIB"),
    LayerForm("c2fcib, large kernel", _stage(stages.c2f_cib, shortcut=True, large_kernel=True), "YOLOv10, 7x7"),
)
BLOCKS_INSIDE = (
    LayerForm("bottleneck", lambda e, x, c, s: stages.bottleneck(e, x), "YOLOv8: 3x3, 3x3"),
    LayerForm("classic bottleneck", _classic, "ResNet (arXiv 1512.03385): 1x1 to a quarter, 3x3, 1x1"),
    LayerForm(
        "inverted residual",
        lambda e, x, c, s: mobile.inverted_residual(e, x, c, expansion=EXPANSION),
        "arXiv 1801.04381, expansion 6",
    ),
    LayerForm("cib", lambda e, x, c, s: stages.cib(e, x), "YOLOv10 (arXiv 2405.14458, 3.2)"),
    LayerForm("cib, large kernel", lambda e, x, c, s: stages.cib(e, x, large_kernel=True), "YOLOv10, 7x7"),
    LayerForm("ghost bottleneck", lambda e, x, c, s: ghost.ghost_bottleneck(e, x, c), "arXiv 1911.11907"),
    LayerForm("convnext", _convnext, "arXiv 2201.03545: dw 7x7, 1x1 to 4c, 1x1"),
)
POOLS = (
    LayerForm("sppf", lambda e, x, c, s: convs.sppf(e, x, c), "YOLOv5: three 5x5 poolings in series"),
    LayerForm("spp", lambda e, x, c, s: convs.spp(e, x, c), "arXiv 1406.4729: poolings 5, 9, 13 side by side"),
)
MIXERS = (
    LayerForm("attention", _dense_attention, "YOLOv10's attention over all channels"),
    LayerForm("window attention", _window_attention, "Swin (arXiv 2103.14030), squares of 8 x 8", window=WINDOW),
    LayerForm(
        "psa", lambda e, x, c, s: attention.psa(e, x, c), "YOLOv10 (arXiv 2405.14458, 3.3): half of the channels"
    ),
    LayerForm("c2psa", lambda e, x, c, s: attention.c2psa(e, x, c), "YOLO11, one block"),
)
GATES = (
    LayerForm("se", lambda e, x, c, s: mobile.squeeze_excite(e, x), "arXiv 1709.01507, ratio 4"),
    LayerForm("se, ratio 16", lambda e, x, c, s: mobile.squeeze_excite(e, x, 16), "arXiv 1709.01507"),
)
TOWERS = (
    LayerForm("class-head", _tower("standard"), "YOLOv8: two 3x3, 80 classes"),
    LayerForm("light-head", _tower("light"), "YOLOv10 (arXiv 2405.14458, 3.2): two depthwise-separable"),
)


PATCHES = (
    LayerForm("patch-embed", _patch, "ViT (arXiv 2010.11929): 4x4 of stride 4", strides=(PATCH,)),
    LayerForm(
        "overlapping 7x7",
        lambda e, x, c, s: e.conv2d(x, c, 7, PATCH, p=3, bias=True, name="proj"),
        "PVTv2, arXiv 2106.13797",
        strides=(PATCH,),
    ),
    LayerForm("two 3x3", _stem, "YOLOv8's stem: each of stride 2", strides=(PATCH,)),
)
DEPTHWISE = (
    LayerForm(STANDARD, lambda e, x, c, s: e.conv2d(x, c, 3, s, name="conv"), "3x3"),
    LayerForm("depthwise", lambda e, x, c, s: e.conv2d(x, c, 3, s, groups=c, name="dw"), "3x3"),
    LayerForm(
        "mixed depthwise",
        lambda e, x, c, s: mobile.mix_conv(e, x, (3, 5), s),
        "arXiv 1907.09595: 3x3 and 5x5, with norms",
    ),
    LayerForm("pointwise", lambda e, x, c, s: e.conv2d(x, c, 1, s, name="pw"), "1x1"),
)


def _family(forms: tuple[LayerForm, ...], divides: int = 1) -> dict[str, NamedLayer]:
    """A layer under the name of each of its forms, except "standard"."""
    layer = NamedLayer(forms, WHOLE, divides=divides)
    return {form.name.replace(",", "").replace(" ", "-"): layer for form in forms if form.name != STANDARD}


LAYERS: dict[str, NamedLayer] = {
    **_family(STAGES, 4),
    **_family(BLOCKS_INSIDE, 4),
    **_family(POOLS, 2),
    **_family(MIXERS, 128),
    **_family(GATES, 16),
    **_family(TOWERS),
    **_family(DEPTHWISE, 2),
    "patch-embed": NamedLayer(PATCHES, WHOLE, widens=True, divides=2),
    **{name: conv_layer(3) for name in ("depthwise-separable", "decoupled", "scdown", "ghost", "space-to-depth")},
}
"""Name -> layer. `named_layer` also knows "convKxK" for any odd K."""


def named_layer(name: str) -> NamedLayer:
    """A layer by its name. Raises EffscopeError with the list of names for an unknown name."""
    if name in LAYERS:
        return LAYERS[name]
    found = CONV.fullmatch(name)
    if found and found.group(1) == found.group(2) and int(found.group(1)) % 2:
        return conv_layer(int(found.group(1)))
    known = ", ".join(LAYERS)
    raise EffscopeError(f"unknown layer '{name}': write convKxK with an odd K, e.g. conv3x3, or one of {known}")
