"""How each known class of a pickled model is read into a line of a layout: from its convolutions and flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from effscope.checkpoint.identify.module_view import ACTIVATIONS, Part, chain_links
from effscope.layouts.blocks.heads import without_defaults

Read = tuple[str, tuple[Any, ...], int]
"""Block, arguments, repeats."""

Reader = Callable[[Part], Read]

MLP_RATIOS = (1.2, 2.0)
"""Released widths of the feed-forward in area attention."""

TOWER_LINKS = 3


def _conv(part: Part, at: str = "", block: str = "Conv") -> Read:
    """A conv unit, arguments behind the stride only where they differ from the block's own."""
    a = part.conv(at)
    (k, _), (s, _), (d, _) = a["kernel_size"], a["stride"], a["dilation"]
    usual = d * (k - 1) // 2 if k % 2 else k // 2
    padding = a["padding"][0]
    act = _act(part, f"{at}.act".lstrip("."))
    args = (a["out_channels"], k, s, None if padding == usual else padding, a["groups"], d, act)
    defaults = (None, None, None, None, 1, 1, True)
    kept = max([n for n, value in enumerate(args) if value != defaults[n]])
    return block, args[: max(kept + 1, 3)], 1


def _act(part: Part, at: str) -> bool | str:
    """True for the activation the model has everywhere, False for none, else the name."""
    kind = part.kind(at)
    if kind in ("", "Identity"):
        return False
    return True if ACTIVATIONS[kind] == part.activation else ACTIVATIONS[kind]


def _trimmed(args: tuple[Any, ...], *defaults: Any) -> tuple[Any, ...]:
    """The arguments without those at the end that are the block's defaults; `defaults` belong to the last ones."""
    first = len(args) - len(defaults)
    end = max([n for n in range(len(args)) if n < first or args[n] != defaults[n - first]], default=-1)
    return args[: end + 1]


def _csp(block: str, closing: str, share: int, shortcut: bool) -> Reader:
    """A block with Bottlenecks `m`: `share` of cv1's outputs make the hidden width; `shortcut` is its default."""

    def read(part: Part) -> Read:
        c_out = part.c_out(closing)
        expansion = part.c_out("cv1") / share / c_out
        groups = int(part.conv("m.0.cv2")["groups"]) if part.has("m.0.cv2.conv") else 1
        added = part.scalar("add", "m.0") is True if part.has("m.0.cv2.conv") else shortcut
        return block, _trimmed((c_out, added, groups, expansion), shortcut, 1, 0.5), part.count("m")

    return read


def _c2f_cib(part: Part) -> Read:
    args = (part.c_out("cv2"), part.scalar("add", "m.0") is True, part.has("m.0.cv1.2.conv1"))
    return "C2fCIB", _trimmed(args, False, False), part.count("m")


def _c3k2(part: Part) -> Read:
    c_out, inner = part.c_out("cv2"), part.kind("m.0")
    first = {"Sequential": "m.0.0", "C3k": "m.0.m.0"}.get(inner, "m.0")
    groups = int(part.conv(f"{first}.cv2")["groups"])
    args = (
        c_out, inner == "C3k", part.c_out("cv1") / 2 / c_out, inner == "Sequential", groups,
        part.scalar("add", first) is True,
    )  # fmt: skip
    return "C3k2", _trimmed(args, False, 0.5, False, 1, True), part.count("m")


def _a2c2f(part: Part) -> Read:
    attended = part.kind("m.0") == "Sequential"
    area, ratio = 1, 2.0
    if attended:
        c, hidden = part.c_out("cv1"), part.c_out("m.0.0.mlp.0")
        area = part.scalar("area", "m.0.0.attn")
        ratio = next((r for r in MLP_RATIOS if int(c * r) == hidden), hidden / c)
    args = (part.c_out("cv2"), attended, area, part.tensor("gamma") is not None, ratio)
    return "A2C2f", _trimmed(args, True, 1, False, 2.0), part.count("m")


def _sppf(part: Part) -> Read:
    """A pooling whose first convolution has no activation is the form that says how many poolings."""
    args: tuple[Any, ...] = (part.c_out("cv2"), part.scalar("kernel_size", "m"))
    if _act(part, "cv1.act") is False:
        args = (*args, part.scalar("n", default=3), part.scalar("add") is True)
    return "SPPF", args, 1


def _ghost_conv(part: Part) -> Read:
    return "GhostConv", (2 * part.c_out("cv1"), part.k("cv1"), part.s("cv1")), 1


def _bottleneck(part: Part) -> Read:
    c_out = part.c_out("cv2")
    args = (c_out, part.scalar("add") is True, int(part.conv("cv2")["groups"]), part.c_out("cv1") / c_out)
    return "Bottleneck", _trimmed(args, True, 1, 0.5), 1


def _rep_c3(part: Part) -> Read:
    hidden = part.c_out("cv1")
    c_out = hidden if part.kind("cv3") == "Identity" else part.c_out("cv3")
    return "RepC3", _trimmed((c_out, hidden / c_out), 1.0), part.count("m")


def _hg_block(part: Part) -> Read:
    light = part.has("m.0.conv2")
    inner = "m.0.conv2" if light else "m.0"
    args = (part.c_out(inner), part.c_out("ec"), part.k(inner), light, part.scalar("add") is True)
    return "HGBlock", args, part.count("m")


def _resnet_layer(part: Part) -> Read:
    if part.scalar("is_first") is True:
        return "ResNetLayer", (int(part.conv("layer.0")["in_channels"]), part.c_out("layer.0"), 1, True, 1), 1
    first = part.conv("layer.0.cv1")
    mid = int(first["out_channels"])
    ratio = part.c_out("layer.0.cv3") // mid
    args = (int(first["in_channels"]), mid, part.s("layer.0.cv2"), False, part.count("layer"), ratio)
    return "ResNetLayer", _trimmed(args, 4), 1


def _aifi(part: Part) -> Read:
    wide = part.tensor("fc1.weight")
    return "AIFI", (len(wide) if wide is not None else 0, part.scalar("num_heads", "ma")), 1


def _detect(part: Part) -> Read:
    """The head: a known one, or one whose towers are chains."""
    light = part.has("cv3.0.0.1.conv")
    plain = part.count("cv3.0") == part.count("cv2.0") == TOWER_LINKS and part.k("cv2.0.0") == 3  # noqa: PLR2004
    if not plain or not (light or part.k("cv3.0.0") == 3):  # noqa: PLR2004
        levels = range(part.count("cv2"))
        towers = tuple(tuple(chain_links(part.at(f"{cv}.{i}"))[0] for cv in ("cv2", "cv3")) for i in levels)
        return "ChainDetect", ("nc", towers, part.scalar("reg_max")), 1
    pairing = "dual" if part.has("one2one_cv2") else "o2m"
    return "Detect", without_defaults(("nc", "light" if light else "standard", pairing, part.scalar("reg_max"))), 1


def _convs(block: str, *of: Callable[[Part], Any]) -> Reader:
    """A reader of blocks whose arguments are looked up one by one."""
    return lambda part: (block, tuple(look(part) for look in of), 1)


def _c(sub: str, times: int = 1) -> Callable[[Part], int]:
    return lambda part: times * part.c_out(sub)


def _s(name: str, sub: str = "") -> Callable[[Part], Any]:
    return lambda part: part.scalar(name, sub)


def _whole(part: Part) -> int:
    factor = part.scalar("scale_factor")
    if factor != int(factor):
        raise ValueError(f"{factor} is not a whole factor")
    return int(factor)


def _repeated(block: str, closing: str) -> Reader:
    return lambda part: (block, (part.c_out(closing),), part.count("m"))


READERS: dict[str, Reader] = {
    "Conv": _conv,
    "DWConv": _conv,
    "Focus": lambda part: ("Focus", *_conv(part, "conv")[1:]),
    "GhostConv": _ghost_conv,
    "SCDown": _convs("SCDown", _c("cv2"), lambda p: p.k("cv2"), lambda p: p.s("cv2")),
    "AConv": _convs("AConv", _c("cv1")),
    "ADown": _convs("ADown", _c("cv1", 2)),
    "ConvTranspose2d": _convs("ConvTranspose2d", _c(""), Part.k, Part.s, lambda p: p.conv()["padding"][0]),
    "MaxPool2d": _convs("MaxPool2d", _s("kernel_size"), _s("stride"), _s("padding")),
    "ZeroPad2d": _convs("ZeroPad2d", lambda p: tuple(p.scalar("padding"))),
    "Identity": _convs("Identity"),
    "Upsample": _convs("Upsample", lambda p: None, _whole, _s("mode")),
    "Concat": _convs("Concat", _s("d")),
    "CBLinear": _convs("CBLinear", lambda p: tuple(p.scalar("c2s")), lambda p: p.k("conv"), lambda p: p.s("conv")),
    "CBFuse": _convs("CBFuse", lambda p: tuple(p.scalar("idx"))),
    "Bottleneck": _bottleneck,
    "GhostBottleneck": _convs("GhostBottleneck", _c("conv.2.cv1", 2)),
    "C1": _repeated("C1", "cv1"),
    "C2": _csp("C2", "cv2", 2, True),
    "C2f": _csp("C2f", "cv2", 2, False),
    "C2fCIB": _c2f_cib,
    "C3": _csp("C3", "cv3", 1, True),
    "C3x": _csp("C3x", "cv3", 1, True),
    "C3Ghost": _csp("C3Ghost", "cv3", 1, True),
    "C3k2": _c3k2,
    "A2C2f": _a2c2f,
    "RepC3": _rep_c3,
    "RepNCSPELAN4": _convs("RepNCSPELAN4", _c("cv4"), _c("cv1"), _c("cv2.1"), lambda p: p.count("cv2.0.m")),
    "ELAN1": _convs("ELAN1", _c("cv4"), _c("cv1"), _c("cv2")),
    "HGStem": _convs("HGStem", _c("stem1"), _c("stem4")),
    "HGBlock": _hg_block,
    "ResNetLayer": _resnet_layer,
    "SPP": _convs("SPP", _c("cv2"), lambda p: tuple(p.scalar("kernel_size", f"m.{i}") for i in range(p.count("m")))),
    "SPPF": _sppf,
    "SPPELAN": _convs("SPPELAN", _c("cv5"), _c("cv1"), _s("kernel_size", "cv2")),
    "PSA": _convs("PSA", _c("cv2"), lambda p: p.c_out("cv1") / 2 / p.c_out("cv2")),
    "C2PSA": _repeated("C2PSA", "cv2"),
    "C2fPSA": _repeated("C2fPSA", "cv2"),
    "AIFI": _aifi,
    "Detect": _detect,
    "v10Detect": _detect,
    "RTDETRDecoder": _convs("RTDETRDecoder", lambda p: "nc"),
}
"""Class name in the file -> how its layer is read. A class that is not here is read as a chain if it is one."""
