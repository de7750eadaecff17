"""Blocks with self-attention over the positions of a map."""

from __future__ import annotations

from effscope.spec.emit import Emitter, Value

HEAD_CHANNELS = 64
KEY_RATIO = 0.5
"""Channels of queries and keys over those of values in YOLOv10's attention."""


def attention(e: Emitter, x: Value, heads: int, key_ratio: float = KEY_RATIO) -> Value:
    """Self-attention of all positions: qkv 1x1, a depthwise 3x3 of the values as position code, projection 1x1.

    Source: YOLOv10 (arXiv 2405.14458, section 3.3). Queries and keys have `key_ratio` of a head's channels.
    """
    head = x.c // heads
    key = int(head * key_ratio)
    qkv = e.conv("qkv", x, heads * (2 * key + head), act=False)
    rows = e.same("flatten", "positions", qkv, start=2, end=3)
    rows = e.same("unflatten", "heads", rows, dim=1, sizes=(heads, 2 * key + head))
    parts = e.node("split", "parts", (rows,), qkv.c, x.stride, dim=2, sizes=(key, key, head))
    q, k, v = (
        e.node("item", f"parts_{i}", (parts,), heads * c, x.stride, index=i) for i, c in enumerate((key, key, head))
    )
    mixed = e.node("attention", "attention", (q, k, v), x.c, x.stride, scale=key**-0.5)
    maps = []
    for name, value in (("values", v), ("mixed", mixed)):
        flat = e.node("flatten", f"{name}_flat", (value,), x.c, x.stride, start=1, end=2)
        maps.append(e.node("reshape_as", f"{name}_map", (flat, x), x.c, x.stride))
    y = e.add("add", maps[1], e.depthwise("pe", maps[0], 3, act=False))
    return e.conv("proj", y, x.c, act=False)


def feed_forward(e: Emitter, x: Value, ratio: float = 2.0) -> Value:
    """Two pointwise convolutions c -> ratio*c -> c, the second without activation."""
    return e.conv(1, e.conv(0, x, int(x.c * ratio)), x.c, act=False)


def psa(e: Emitter, x: Value, c_out: int, expansion: float = 0.5) -> Value:
    """Partial self-attention: half of the channels pass, half go through attention and a feed-forward, both residual.

    Source: YOLOv10 (arXiv 2405.14458, section 3.3).
    """
    c = int(x.c * expansion)
    a, b = e.split("split", e.conv("cv1", x, 2 * c), (c, c))
    b = e.add("add", b, attention(e.at("attn"), b, max(c // HEAD_CHANNELS, 1)))
    b = e.add("add1", b, feed_forward(e.at("ffn"), b))
    return e.conv("cv2", e.concat("cat", [a, b]), c_out)
