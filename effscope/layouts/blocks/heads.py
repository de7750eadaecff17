"""Detection heads: towers per level and the anchor-free decoding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from effscope.layouts.blocks.chain import Link, chain
from effscope.spec.emit import Emitter, Value

REG_MAX = 16
"""Bins of the distribution of each box side (DFL, arXiv 2006.04388); with 1 bin the head predicts the side itself."""

NOMINAL_SIZE = 640
BOX_BIAS = 1.0

Tower = Callable[[Emitter, Value, int, int, float], Value]


def _standard(e: Emitter, x: Value, hidden: int, c_out: int, bias: float) -> Value:
    y = e.conv(1, e.conv(0, x, hidden, 3), hidden, 3)
    return e.conv2d(y, c_out, bias=True, bias_init=bias, name="2")


def _light(e: Emitter, x: Value, hidden: int, c_out: int, bias: float) -> Value:
    y = x
    for i in range(2):
        y = e.at(i).conv(1, e.at(i).depthwise(0, y, 3), hidden)
    return e.conv2d(y, c_out, bias=True, bias_init=bias, name="2")


CLASS_TOWERS: dict[str, Tower] = {"standard": _standard, "light": _light}
"""Class towers: two 3x3 convolutions, or two depthwise-separable ones (light class head, arXiv 2405.14458, 3.2)."""

PAIRINGS = ("o2m", "dual", "o2o")
"""Heads of a detector. o2m: one-to-many only. dual: with a one-to-one copy that needs no NMS (arXiv 2405.14458, 3.1).
o2o: one-to-one only, its features are not detached."""


DETECT_DEFAULTS = ("nc", "standard", "o2m", REG_MAX)


def without_defaults(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a Detect head without trailing defaults, as in layouts."""
    kept = max([n for n, value in enumerate(args) if value != DETECT_DEFAULTS[n]], default=0)
    return args[: kept + 1]


def class_bias(nc: int, stride: int) -> float:
    """Bias of the class logits for about 5 objects in a 640 px image: log(5 / nc / (640 / stride)^2)."""
    return math.log(5 / nc / (NOMINAL_SIZE / stride) ** 2)


def _expected(e: Emitter, box: Value, reg_max: int) -> Value:
    """The four sides: expectation of the distribution over the bins; with one bin, the value."""
    if reg_max == 1:
        return box
    bins = e.same("unflatten", "bins", box, dim=1, sizes=(4, reg_max))
    bins = e.node("transpose", "bins_first", (bins,), reg_max, 1, dims=(1, 2))
    bins = e.same("softmax", "probabilities", bins, dim=1)
    sides = e.at("dfl").conv2d(bins, 1, init="arange")
    return e.node("flatten", "sides", (sides,), 4, 1, start=1, end=2)


def _decode(e: Emitter, levels: Sequence[Value], nc: int, reg_max: int, box_format: str) -> Value:
    """Boxes in px, then sigmoid scores: (B, 4 + nc, A)."""
    flat = [e.same("flatten", f"flat{i}", x, start=2, end=3) for i, x in enumerate(levels)]
    joined = e.node("concat", "anchors", tuple(flat), levels[0].c, 1, dim=2)
    box, logits = e.split("parts", joined, (4 * reg_max, nc))
    sides = _expected(e, box, reg_max)
    strides = tuple(x.stride for x in levels)
    boxes = e.node("dist2box", "boxes", (sides, *levels), 4, 1, strides=strides, box_format=box_format)
    scores = e.same("sigmoid", "scores", logits)
    return e.node("concat", "decoded", (boxes, scores), 4 + nc, 1, dim=1)


def _levels(
    e: Emitter, xs: Sequence[Value], nc: int, class_tower: str, reg_max: int, prefix: str = ""
) -> tuple[Value, ...]:
    """Raw maps of one head: per level (B, 4 * reg_max + nc, h, w), box bins first."""
    c0 = xs[0].c
    c_box, c_cls = max(16, c0 // 4, 4 * reg_max), max(c0, min(nc, 100))
    levels = []
    for i, x in enumerate(xs):
        box = _standard(e.at(f"{prefix}cv2", i), x, c_box, 4 * reg_max, BOX_BIAS)
        logits = CLASS_TOWERS[class_tower](e.at(f"{prefix}cv3", i), x, c_cls, nc, class_bias(nc, x.stride))
        levels.append(e.concat(f"{prefix}level{i}", [box, logits]))
    return tuple(levels)


def detect(
    e: Emitter,
    xs: Sequence[Value],
    nc: int,
    class_tower: str = "standard",
    pairing: str = "o2m",
    reg_max: int = REG_MAX,
) -> None:
    """YOLOv8's anchor-free head: per level a box tower and a class tower.

    Sets the views `decoded`, and `o2m` and `o2o` according to the pairing.

    Raw levels are (B, 4 * reg_max + nc, h, w), box bins first. Widths: box max(16, c0/4, 4 * reg_max), class
    max(c0, min(nc, 100)), where c0 are the channels of the first level. The pairing "dual" adds the one-to-one head of
    YOLOv10, which reads detached maps. Then this head is decoded, to xyxy instead of xywh.
    """
    levels = _levels(e, xs, nc, class_tower, reg_max)
    alone, box_format = ("o2o", "xyxy") if pairing == "o2o" else ("o2m", "xywh")
    e.views[alone] = tuple(x.name for x in levels)
    if pairing == "dual":
        apart = [e.same("detach", f"detached{i}", x) for i, x in enumerate(xs)]
        levels, box_format = _levels(e, apart, nc, class_tower, reg_max, "one2one_"), "xyxy"
        e.views["o2o"] = tuple(x.name for x in levels)
    e.views["decoded"] = (_decode(e, levels, nc, reg_max, box_format).name,)
    e.info.update(nc=nc, strides=tuple(x.stride for x in xs), box_format=box_format, reg_max=reg_max)


def chain_detect(
    e: Emitter,
    xs: Sequence[Value],
    nc: int,
    towers: tuple[tuple[tuple[Link, ...], tuple[Link, ...]], ...],
    reg_max: int,
) -> None:
    """YOLOv8's head with towers of any layers, as chains. Sets the views `o2m`, `decoded`.

    `towers`: per level the links of the box tower `cv2.<level>` and of the class tower `cv3.<level>` (see `chain`).
    """
    levels = []
    for i, (x, links) in enumerate(zip(xs, towers, strict=True)):
        box, logits = (chain(e.at(name, i), x, tower) for name, tower in zip(("cv2", "cv3"), links, strict=True))
        levels.append(e.concat(f"level{i}", [box, logits]))
    e.views["o2m"] = tuple(x.name for x in levels)
    e.views["decoded"] = (_decode(e, levels, nc, reg_max, "xywh").name,)
    e.info.update(nc=nc, strides=tuple(x.stride for x in xs), box_format="xywh", reg_max=reg_max)


Anchors = tuple[tuple[tuple[float, float], ...], ...]
"""Per level, the (width, height) in px of each anchor shape."""


def anchor_detect(e: Emitter, xs: Sequence[Value], nc: int, anchors: Anchors) -> None:
    """The anchor head of the YOLOv5 repository: one pointwise convolution per level. Sets the views `o2m`, `decoded`.

    Raw levels are (B, shapes * (5 + nc), h, w): per anchor shape box, objectness, classes. A score is the product of
    objectness and class; `nn.modules.Anchor2Box` decodes the boxes.
    """
    levels, flat = [], []
    for i, (x, shapes) in enumerate(zip(xs, anchors, strict=True)):
        level = e.at("m").conv2d(x, len(shapes) * (5 + nc), bias=True, name=str(i))
        y = e.same("unflatten", f"shapes{i}", level, dim=1, sizes=(len(shapes), 5 + nc))
        y = e.node("transpose", f"values{i}", (y,), 5 + nc, x.stride, dims=(1, 2))
        flat.append(e.node("flatten", f"flat{i}", (y,), 5 + nc, 1, start=2, end=4))
        levels.append(level)
    joined = e.node("concat", "anchors", tuple(flat), 5 + nc, 1, dim=2)
    box, objectness, classes = e.split("parts", joined, (4, 1, nc))
    strides = tuple(x.stride for x in xs)
    boxes = e.node("anchor2box", "boxes", (box, *levels), 4, 1, strides=strides, anchors=anchors)
    sure = e.same("sigmoid", "objectness", objectness)
    scores = e.mul("scores", e.same("sigmoid", "classes", classes), sure)
    e.views["o2m"] = tuple(x.name for x in levels)
    e.views["decoded"] = (e.node("concat", "decoded", (boxes, scores), 4 + nc, 1, dim=1).name,)
    e.info.update(nc=nc, strides=strides, box_format="xywh", reg_max=0)


DECODER = {"hidden": 256, "heads": 8, "points": 4, "layers": 6, "feed_forward": 1024}
"""RT-DETR's decoder (arXiv 2304.08069): widths and depths of the released models."""


def rtdetr_decoder(e: Emitter, xs: Sequence[Value], nc: int) -> None:
    """RT-DETR's query decoder. Sets the views `features` (its inputs, projected to one width) and `queries`.

    Query selection and deformable attention have no primitives. The decoder is one node that owns all of its tensors:
    parameters are exact and weights can be loaded; its compute is listed as uncounted.
    """
    c = DECODER["hidden"]
    levels = []
    for i, x in enumerate(xs):
        at = e.at("input_proj", i)
        levels.append(at.norm(at.conv2d(x, c, name="0"), "1"))
    held = [e.parameter(name, shape, 0.0) for name, shape in _decoder_tensors(c, nc, len(xs)).items()]
    args = {"target": "", "operands": (), "keywords": {}, "shape": (1, 300, 4 + nc), "tensors": {}}
    e.node("opaque", "queries", (*levels, *held), 4 + nc, 1, **args)
    e.views["features"] = tuple(level.name for level in levels)
    e.views["queries"] = (f"{e.path}.queries",)
    e.info.update(nc=nc, strides=tuple(x.stride for x in xs), box_format="queries", reg_max=0)


def _decoder_tensors(c: int, nc: int, n_levels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the decoder's tensors, by names relative to the head."""
    heads, points, wide = DECODER["heads"], DECODER["points"], DECODER["feed_forward"]
    linear: dict[str, tuple[int, int]] = {
        "query_pos_head.layers.0": (4, 2 * c),
        "query_pos_head.layers.1": (2 * c, c),
        "enc_output.0": (c, c),
        "enc_score_head": (c, nc),
        **{f"enc_bbox_head.layers.{j}": (c, 4 if j == 2 else c) for j in range(3)},  # noqa: PLR2004
    }
    norms = ["enc_output.1"]
    tensors: dict[str, tuple[int, ...]] = {"denoising_class_embed.weight": (nc, c)}
    for i in range(DECODER["layers"]):
        at = f"decoder.layers.{i}"
        samples = heads * n_levels * points
        linear |= {
            f"{at}.self_attn.out_proj": (c, c),
            f"{at}.cross_attn.sampling_offsets": (c, 2 * samples),
            f"{at}.cross_attn.attention_weights": (c, samples),
            f"{at}.cross_attn.value_proj": (c, c),
            f"{at}.cross_attn.output_proj": (c, c),
            f"{at}.linear1": (c, wide),
            f"{at}.linear2": (wide, c),
            f"dec_score_head.{i}": (c, nc),
            **{f"dec_bbox_head.{i}.layers.{j}": (c, 4 if j == 2 else c) for j in range(3)},  # noqa: PLR2004
        }
        norms += [f"{at}.norm{j}" for j in (1, 2, 3)]
        tensors |= {
            f"{at}.self_attn.in_proj_weight": (3 * c, c),
            f"{at}.self_attn.in_proj_bias": (3 * c,),
        }
    for name, (c_in, c_out) in linear.items():
        tensors |= {f"{name}.weight": (c_out, c_in), f"{name}.bias": (c_out,)}
    for name in norms:
        tensors |= {f"{name}.weight": (c,), f"{name}.bias": (c,)}
    return tensors
