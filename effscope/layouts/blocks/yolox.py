"""Blocks of YOLOX (arXiv 2107.08430) that differ from YOLOv5's: spatial convolutions in two parts, and the head.

Tensors of a layer have the names of the YOLOX repository, except conv1-3 of its CSP layers, which are cv1-3 here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from effscope.errors import EffscopeError
from effscope.layouts.blocks.mobile import Kernels, mix_conv
from effscope.spec.emit import Emitter, Value

FORMS = ("dense", "separable", "lean", "vanilla")
"""Forms of a spatial convolution. dense: a full k x k. separable: depthwise k x k, then pointwise. lean: only
depthwise if c_out = c_in, else separable. vanilla: no pointwise; if c_out > c_in, several filters per channel."""

PRIOR = 0.01
"""Initial probability of objectness and classes."""


def spatial(e: Emitter, x: Value, c_out: int, kernels: Kernels = (3,), s: int = 1, form: str = "separable") -> Value:
    """A spatial convolution in one of FORMS. Each part has BatchNorm and the activation; the depthwise can mix kernels.

    Raises:
        EffscopeError: several kernels for a convolution that is not depthwise.
    """
    pointwise = form == "separable" or (form == "lean" and x.c != c_out)
    if pointwise or (x.c == c_out and form != "dense"):
        y = mix_conv(e.at("dconv"), x, kernels, s)
        return e.conv("pconv", y, c_out) if pointwise else y
    if len(kernels) > 1:
        raise EffscopeError(f"{e.path}: kernels can only be mixed in a depthwise, not in a {form} {x.c} -> {c_out}")
    if form == "dense":
        return e.unit(x, c_out, kernels[0], s)
    return e.conv("dconv", x, c_out, kernels[0], s, groups=math.gcd(x.c, c_out))


def csp_layer(
    e: Emitter,
    x: Value,
    c_out: int,
    n: int = 1,
    shortcut: bool = True,
    kernels: Kernels = (3,),
    form: str = "separable",
) -> Value:
    """C3 with inner blocks of a pointwise and a spatial convolution in one of FORMS, plus the input if `shortcut`."""
    c = c_out // 2
    y = e.conv("cv1", x, c)
    for i in range(n):
        inner = e.at("m", i)
        z = spatial(inner.at("cv2"), inner.conv("cv1", y, c), c, kernels, 1, form)
        y = inner.add("add", y, z) if shortcut else z
    return e.conv("cv3", e.concat("cat", [y, e.conv("cv2", x, c)]), c_out)


def _tower(e: Emitter, x: Value, kernels: Kernels, form: str) -> Value:
    return spatial(e.at(1), spatial(e.at(0), x, x.c, kernels, 1, form), x.c, kernels, 1, form)


def yolox_head(e: Emitter, xs: Sequence[Value], nc: int, kernels: Kernels = (3,), form: str = "dense") -> None:
    """YOLOX's decoupled head; all towers have as many channels as the finest map. Sets the views `o2m`, `decoded`.

    Raw levels are (B, 5 + nc, h, w): box, objectness, classes. A score is the product of objectness and class;
    `nn.modules.Cell2Box` decodes the boxes.
    """
    width, bias = xs[0].c, -math.log((1 - PRIOR) / PRIOR)
    levels = []
    for i, x in enumerate(xs):
        stem = e.at("stems").conv(i, x, width)
        classes, boxes = (_tower(e.at(name, i), stem, kernels, form) for name in ("cls_convs", "reg_convs"))
        logits = e.at("cls_preds").conv2d(classes, nc, bias=True, bias_init=bias, name=str(i))
        box = e.at("reg_preds").conv2d(boxes, 4, bias=True, name=str(i))
        sure = e.at("obj_preds").conv2d(boxes, 1, bias=True, bias_init=bias, name=str(i))
        levels.append(e.concat(f"level{i}", [box, sure, logits]))
    e.views["o2m"] = tuple(x.name for x in levels)
    strides = tuple(x.stride for x in xs)
    e.views["decoded"] = (_decoded(e, levels, nc, strides).name,)
    e.info.update(nc=nc, strides=strides, box_format="xywh", reg_max=0)


def _decoded(e: Emitter, levels: Sequence[Value], nc: int, strides: tuple[int, ...]) -> Value:
    """Boxes in px, then scores: (B, 4 + nc, cells)."""
    flat = [e.same("flatten", f"flat{i}", x, start=2, end=3) for i, x in enumerate(levels)]
    joined = e.node("concat", "cells", tuple(flat), 5 + nc, 1, dim=2)
    box, objectness, classes = e.split("parts", joined, (4, 1, nc))
    boxes = e.node("cell2box", "boxes", (box, *levels), 4, 1, strides=strides)
    sure = e.same("sigmoid", "objectness", objectness)
    scores = e.mul("scores", e.same("sigmoid", "classes", classes), sure)
    return e.node("concat", "decoded", (boxes, scores), 4 + nc, 1, dim=1)
