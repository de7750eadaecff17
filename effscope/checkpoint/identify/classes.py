"""Block, arguments and repeats of a layer of a pickled model, for each known class, from its convolutions and flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from effscope.checkpoint.identify.module_view import ACTIVATIONS, ModuleView, chain_links
from effscope.layouts.blocks.heads import without_defaults

Read = tuple[str, tuple[Any, ...], int]
"""Block, arguments, repeats."""

Reader = Callable[[ModuleView], Read]

MLP_RATIOS = (1.2, 2.0)
"""Width ratios of the feed-forward in area attention, in the released models (YOLOv12, arXiv 2502.12524)."""

TOWER_LINKS = 3
"""Number of layers in a tower of the standard detection head."""


def _conv(module: ModuleView, at: str = "", block: str = "Conv") -> Read:
    """A conv unit. Arguments after the stride end with the last one that is not the default."""
    a = module.conv(at)
    (k, _), (s, _), (d, _) = a["kernel_size"], a["stride"], a["dilation"]
    default_padding = d * (k - 1) // 2 if k % 2 else k // 2
    padding = a["padding"][0]
    act = _act(module, f"{at}.act".lstrip("."))
    args = (a["out_channels"], k, s, None if padding == default_padding else padding, a["groups"], d, act)
    defaults = (None, None, None, None, 1, 1, True)
    kept = max([n for n, value in enumerate(args) if value != defaults[n]])
    return block, args[: max(kept + 1, 3)], 1


def _act(module: ModuleView, at: str) -> bool | str:
    """True for the most common activation of the model, False for none, else the name."""
    kind = module.kind(at)
    if kind in ("", "Identity"):
        return False
    return True if ACTIVATIONS[kind] == module.activation else ACTIVATIONS[kind]


def _trimmed(args: tuple[Any, ...], *defaults: Any) -> tuple[Any, ...]:
    """The arguments without trailing defaults. `defaults` are the defaults of the last arguments."""
    first = len(args) - len(defaults)
    end = max([n for n in range(len(args)) if n < first or args[n] != defaults[n - first]], default=-1)
    return args[: end + 1]


def _csp(block: str, closing: str, share: int, shortcut: bool) -> Reader:
    """Reader of a block with Bottlenecks `m`. The hidden width is cv1's output / `share`; `shortcut` is its default."""

    def read(module: ModuleView) -> Read:
        c_out = module.c_out(closing)
        expansion = module.c_out("cv1") / share / c_out
        groups = int(module.conv("m.0.cv2")["groups"]) if module.has("m.0.cv2.conv") else 1
        added = module.scalar("add", "m.0") is True if module.has("m.0.cv2.conv") else shortcut
        return block, _trimmed((c_out, added, groups, expansion), shortcut, 1, 0.5), module.count("m")

    return read


def _c2f_cib(module: ModuleView) -> Read:
    args = (module.c_out("cv2"), module.scalar("add", "m.0") is True, module.has("m.0.cv1.2.conv1"))
    return "C2fCIB", _trimmed(args, False, False), module.count("m")


def _c3k2(module: ModuleView) -> Read:
    c_out, inner = module.c_out("cv2"), module.kind("m.0")
    first = {"Sequential": "m.0.0", "C3k": "m.0.m.0"}.get(inner, "m.0")
    groups = int(module.conv(f"{first}.cv2")["groups"])
    args = (
        c_out, inner == "C3k", module.c_out("cv1") / 2 / c_out, inner == "Sequential", groups,
        module.scalar("add", first) is True,
    )  # fmt: skip
    return "C3k2", _trimmed(args, False, 0.5, False, 1, True), module.count("m")


def _a2c2f(module: ModuleView) -> Read:
    attended = module.kind("m.0") == "Sequential"
    area, ratio = 1, 2.0
    if attended:
        c, hidden = module.c_out("cv1"), module.c_out("m.0.0.mlp.0")
        area = module.scalar("area", "m.0.0.attn")
        ratio = next((r for r in MLP_RATIOS if int(c * r) == hidden), hidden / c)
    args = (module.c_out("cv2"), attended, area, module.tensor("gamma") is not None, ratio)
    return "A2C2f", _trimmed(args, True, 1, False, 2.0), module.count("m")


def _sppf(module: ModuleView) -> Read:
    """Without an activation after cv1, the block also has the arguments `n` (poolings) and `add`."""
    args: tuple[Any, ...] = (module.c_out("cv2"), module.scalar("kernel_size", "m"))
    if _act(module, "cv1.act") is False:
        args = (*args, module.scalar("n", default=3), module.scalar("add") is True)
    return "SPPF", args, 1


def _ghost_conv(module: ModuleView) -> Read:
    return "GhostConv", (2 * module.c_out("cv1"), module.k("cv1"), module.s("cv1")), 1


def _bottleneck(module: ModuleView) -> Read:
    c_out = module.c_out("cv2")
    args = (c_out, module.scalar("add") is True, int(module.conv("cv2")["groups"]), module.c_out("cv1") / c_out)
    return "Bottleneck", _trimmed(args, True, 1, 0.5), 1


def _rep_c3(module: ModuleView) -> Read:
    hidden = module.c_out("cv1")
    c_out = hidden if module.kind("cv3") == "Identity" else module.c_out("cv3")
    return "RepC3", _trimmed((c_out, hidden / c_out), 1.0), module.count("m")


def _hg_block(module: ModuleView) -> Read:
    light = module.has("m.0.conv2")
    inner = "m.0.conv2" if light else "m.0"
    args = (module.c_out(inner), module.c_out("ec"), module.k(inner), light, module.scalar("add") is True)
    return "HGBlock", args, module.count("m")


def _resnet_layer(module: ModuleView) -> Read:
    if module.scalar("is_first") is True:
        return "ResNetLayer", (int(module.conv("layer.0")["in_channels"]), module.c_out("layer.0"), 1, True, 1), 1
    first = module.conv("layer.0.cv1")
    mid = int(first["out_channels"])
    ratio = module.c_out("layer.0.cv3") // mid
    args = (int(first["in_channels"]), mid, module.s("layer.0.cv2"), False, module.count("layer"), ratio)
    return "ResNetLayer", _trimmed(args, 4), 1


def _aifi(module: ModuleView) -> Read:
    wide = module.tensor("fc1.weight")
    return "AIFI", (len(wide) if wide is not None else 0, module.scalar("num_heads", "ma")), 1


def _detect(module: ModuleView) -> Read:
    """A known head, or a `ChainDetect` with towers of any layers."""
    light = module.has("cv3.0.0.1.conv")
    known_towers = module.count("cv3.0") == module.count("cv2.0") == TOWER_LINKS and module.k("cv2.0.0") == 3  # noqa: PLR2004
    if not known_towers or not (light or module.k("cv3.0.0") == 3):  # noqa: PLR2004
        levels = range(module.count("cv2"))
        towers = tuple(tuple(chain_links(module.at(f"{cv}.{i}"))[0] for cv in ("cv2", "cv3")) for i in levels)
        return "ChainDetect", ("nc", towers, module.scalar("reg_max")), 1
    pairing = "dual" if module.has("one2one_cv2") else "o2m"
    return "Detect", without_defaults(("nc", "light" if light else "standard", pairing, module.scalar("reg_max"))), 1


def _block(block: str, *arguments: Callable[[ModuleView], Any]) -> Reader:
    """Reader of a block, with one function per argument."""
    return lambda module: (block, tuple(argument(module) for argument in arguments), 1)


def _c(sub: str, times: int = 1) -> Callable[[ModuleView], int]:
    return lambda module: times * module.c_out(sub)


def _s(name: str, sub: str = "") -> Callable[[ModuleView], Any]:
    return lambda module: module.scalar(name, sub)


def _integer_scale(module: ModuleView) -> int:
    factor = module.scalar("scale_factor")
    if factor != int(factor):
        raise ValueError(f"the scale factor {factor} is not an integer")
    return int(factor)


def _repeated(block: str, closing: str) -> Reader:
    return lambda module: (block, (module.c_out(closing),), module.count("m"))


CLASS_READERS: dict[str, Reader] = {
    "Conv": _conv,
    "DWConv": _conv,
    "Focus": lambda module: ("Focus", *_conv(module, "conv")[1:]),
    "GhostConv": _ghost_conv,
    "SCDown": _block("SCDown", _c("cv2"), lambda m: m.k("cv2"), lambda m: m.s("cv2")),
    "AConv": _block("AConv", _c("cv1")),
    "ADown": _block("ADown", _c("cv1", 2)),
    "ConvTranspose2d": _block("ConvTranspose2d", _c(""), ModuleView.k, ModuleView.s, lambda m: m.conv()["padding"][0]),
    "MaxPool2d": _block("MaxPool2d", _s("kernel_size"), _s("stride"), _s("padding")),
    "ZeroPad2d": _block("ZeroPad2d", lambda m: tuple(m.scalar("padding"))),
    "Identity": _block("Identity"),
    "Upsample": _block("Upsample", lambda m: None, _integer_scale, _s("mode")),
    "Concat": _block("Concat", _s("d")),
    "CBLinear": _block("CBLinear", lambda m: tuple(m.scalar("c2s")), lambda m: m.k("conv"), lambda m: m.s("conv")),
    "CBFuse": _block("CBFuse", lambda m: tuple(m.scalar("idx"))),
    "Bottleneck": _bottleneck,
    "GhostBottleneck": _block("GhostBottleneck", _c("conv.2.cv1", 2)),
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
    "RepNCSPELAN4": _block("RepNCSPELAN4", _c("cv4"), _c("cv1"), _c("cv2.1"), lambda m: m.count("cv2.0.m")),
    "ELAN1": _block("ELAN1", _c("cv4"), _c("cv1"), _c("cv2")),
    "HGStem": _block("HGStem", _c("stem1"), _c("stem4")),
    "HGBlock": _hg_block,
    "ResNetLayer": _resnet_layer,
    "SPP": _block("SPP", _c("cv2"), lambda m: tuple(m.scalar("kernel_size", f"m.{i}") for i in range(m.count("m")))),
    "SPPF": _sppf,
    "SPPELAN": _block("SPPELAN", _c("cv5"), _c("cv1"), _s("kernel_size", "cv2")),
    "PSA": _block("PSA", _c("cv2"), lambda m: m.c_out("cv1") / 2 / m.c_out("cv2")),
    "C2PSA": _repeated("C2PSA", "cv2"),
    "C2fPSA": _repeated("C2fPSA", "cv2"),
    "AIFI": _aifi,
    "Detect": _detect,
    "v10Detect": _detect,
    "RTDETRDecoder": _block("RTDETRDecoder", lambda m: "nc"),
}
"""Class name in the file -> reader of its layer. Layers of other classes are read as chains, where possible."""
