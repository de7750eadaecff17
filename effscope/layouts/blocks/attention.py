"""Blocks with self-attention over the positions of a map."""

from __future__ import annotations

from effscope.errors import EffscopeError
from effscope.spec.emit import Emitter, Value, portion

HEAD_CHANNELS = 64
KEY_RATIO = 0.5
"""Channels of queries and keys divided by channels of values, in YOLOv10's attention."""


def psa_heads(c: int) -> int:
    """Number of heads for c channels: one per 64 channels, at least one."""
    return max(c // HEAD_CHANNELS, 1)


def _attended(e: Emitter, x: Value, qkv: Value, heads: int, key: int, area: int) -> tuple[Value, Value]:
    """Values and attended values as maps. `qkv` holds queries, keys and values head by head.

    With area > 1 the positions are divided into `area` sequences, with attention only inside each sequence.
    """
    head = x.c // heads
    flat = e.same("flatten", "positions", qkv, start=2, end=3)
    rows = e.same("unflatten", "heads", flat, dim=1, sizes=(heads, 2 * key + head))
    if area > 1:
        rows = e.same("unflatten", "areas", rows, dim=3, sizes=(area, -1))
        rows = e.node("transpose", "areas_first", (rows,), qkv.c, x.stride, dims=(2, 3))
    sizes, dim = (key, key, head), 3 if area > 1 else 2
    parts = e.node("split", "parts", (rows,), qkv.c, x.stride, dim=dim, sizes=sizes)
    q, k, v = (e.node("item", f"parts_{i}", (parts,), heads * c, x.stride, index=i) for i, c in enumerate(sizes))
    mixed = e.node("attention", "attention", (q, k, v), x.c, x.stride, scale=key**-0.5)
    maps = []
    for name, rows in (("values", v), ("mixed", mixed)):
        value = rows
        if area > 1:
            value = e.node("transpose", f"{name}_back", (rows,), x.c, x.stride, dims=(2, 3))
            value = e.same("flatten", f"{name}_joined", value, start=3, end=4)
        flat = e.node("flatten", f"{name}_flat", (value,), x.c, x.stride, start=1, end=2)
        maps.append(e.node("reshape_as", f"{name}_map", (flat, x), x.c, x.stride))
    return maps[0], maps[1]


def attention(e: Emitter, x: Value, heads: int, key_ratio: float = KEY_RATIO) -> Value:
    """Self-attention over all positions: qkv 1x1, a depthwise 3x3 of the values as position encoding, projection 1x1.

    Source: YOLOv10 (arXiv 2405.14458, section 3.3). Queries and keys have `key_ratio` times a head's channels.
    Raises EffscopeError for less than one channel.
    """
    key = portion(x.c // heads, key_ratio)
    if not key:
        raise EffscopeError(f"{e.path}: {x.c} channels are too few for {heads} heads of attention")
    qkv = e.conv("qkv", x, x.c + 2 * key * heads, act=False)
    values, mixed = _attended(e, x, qkv, heads, key, area=1)
    return e.conv("proj", e.add("add", mixed, e.depthwise("pe", values, 3, act=False)), x.c, act=False)


def area_attention(e: Emitter, x: Value, heads: int, area: int) -> Value:
    """Self-attention inside each of `area` sequences of positions; position encoding by a depthwise 7x7.

    Source: YOLO12 (arXiv 2502.12524).
    """
    qkv = e.conv("qkv", x, 3 * x.c, act=False)
    values, mixed = _attended(e, x, qkv, heads, x.c // heads, area)
    return e.conv("proj", e.add("add", mixed, e.depthwise("pe", values, 7, act=False)), x.c, act=False)


def window_attention(e: Emitter, x: Value, heads: int, size: int) -> Value:
    """Self-attention inside each square of `size` x `size` positions: qkv 1x1, projection 1x1.

    Source: Swin (arXiv 2103.14030), without its relative position bias.
    """
    qkv = e.conv2d(x, 3 * x.c, bias=True, name="qkv")
    cells = e.same("windows", "windows", qkv, size=size)
    rows = e.same("unflatten", "heads", cells, dim=2, sizes=(heads, 3 * (x.c // heads)))
    parts = e.node("split", "parts", (rows,), qkv.c, x.stride, dim=3, sizes=(x.c // heads,) * 3)
    q, k, v = (e.node("item", f"parts_{i}", (parts,), x.c, x.stride, index=i) for i in range(3))
    mixed = e.node("attention", "attention", (q, k, v), x.c, x.stride, scale=(x.c // heads) ** -0.5)
    joined = e.same("flatten", "joined", mixed, start=2, end=3)
    return e.conv2d(e.node("unwindow", "map", (joined, x), x.c, x.stride, size=size), x.c, bias=True, name="proj")


def _feed_forward(e: Emitter, x: Value, ratio: float) -> Value:
    """Two pointwise convolutions c -> ratio*c -> c, the second without activation."""
    return e.conv(1, e.conv(0, x, portion(x.c, ratio)), x.c, act=False)


def psa_block(e: Emitter, x: Value, heads: int) -> Value:
    """Attention, then a feed-forward of twice the width; each is added to its input."""
    x = e.add("add", x, attention(e.at("attn"), x, heads))
    return e.add("add1", x, _feed_forward(e.at("ffn"), x, 2.0))


def area_block(e: Emitter, x: Value, heads: int, mlp_ratio: float, area: int) -> Value:
    """Area attention, then a feed-forward; each is added to its input. Source: YOLO12 (arXiv 2502.12524)."""
    x = e.add("add", x, area_attention(e.at("attn"), x, heads, area))
    return e.add("add1", x, _feed_forward(e.at("mlp"), x, mlp_ratio))


def _partial(e: Emitter, x: Value, c_out: int, expansion: float) -> tuple[Value, Value]:
    if x.c != c_out:
        raise EffscopeError(f"{e.path}: partial attention keeps its channels, got {x.c} -> {c_out}")
    c = portion(x.c, expansion)
    a, b = e.split("split", e.conv("cv1", x, 2 * c), (c, c))
    return a, b


def psa(e: Emitter, x: Value, c_out: int, expansion: float = 0.5) -> Value:
    """Partial self-attention: half of the channels are unchanged, half go through residual attention and feed-forward.

    Source: YOLOv10 (arXiv 2405.14458, section 3.3).
    """
    a, b = _partial(e, x, c_out, expansion)
    return e.conv("cv2", e.concat("cat", [a, psa_block(e, b, psa_heads(b.c))]), c_out)


def c2psa(e: Emitter, x: Value, c_out: int, n: int = 1, expansion: float = 0.5) -> Value:
    """`psa` with n attention blocks in series. Source: YOLO11."""
    a, b = _partial(e, x, c_out, expansion)
    for i in range(n):
        b = psa_block(e.at("m", i), b, psa_heads(b.c))
    return e.conv("cv2", e.concat("cat", [a, b]), c_out)


def aifi(e: Emitter, x: Value, c_hidden: int = 2048, heads: int = 8) -> Value:
    """One transformer encoder layer over the positions of a map: sine position encoding, norms after the sums.

    Source: RT-DETR (arXiv 2304.08069, section 4.2).
    """
    code = e.node("posembed2d", "position", (x,), x.c, x.stride, c=x.c, temperature=10000.0)
    flat = e.same("flatten", "flat", x, start=2, end=3)
    tokens = e.node("transpose", "tokens", (flat,), x.c, x.stride, dims=(1, 2))
    q = e.node("broadcast_add", "coded", (tokens, code), x.c, x.stride)
    mixed = e.node("mha", "ma", (q, q, tokens), x.c, x.stride, c=x.c, heads=heads)
    y = _layer_norm(e, "norm1", e.add("add", tokens, mixed))
    z = e.node("linear", "fc1", (y,), c_hidden, x.stride, c_in=x.c, c_out=c_hidden, bias=True)
    z = e.node("linear", "fc2", (e.same("gelu", "act", z),), x.c, x.stride, c_in=c_hidden, c_out=x.c, bias=True)
    y = _layer_norm(e, "norm2", e.add("add1", y, z))
    back = e.node("transpose", "channels_first", (y,), x.c, x.stride, dims=(1, 2))
    return e.node("reshape_as", "map", (back, x), x.c, x.stride)


def _layer_norm(e: Emitter, name: str, x: Value) -> Value:
    return e.same("layernorm", name, x, c=x.c, eps=1e-5, affine=True)
