"""How Ultralytics' YAML spells layouts, as tables: names of blocks, activations, heads, and rules tied to scales.

Facts: `parse_model` and `guess_model_scale` of ultralytics 8.4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from effscope.errors import EffscopeError
from effscope.layouts.blocks.heads import DETECT_DEFAULTS, REG_MAX, without_defaults
from effscope.layouts.blocks.table import BLOCKS
from effscope.spec.emit import LEAKY, LEAKY_SLOPE
from effscope.spec.layout import Layout

Args = tuple[Any, ...]

TORCH_NAMES = ("Upsample", "ConvTranspose2d", "MaxPool2d", "ZeroPad2d", "Identity")
NAMES = {name: f"nn.{name}" for name in TORCH_NAMES}
"""Our block name -> the name YAML files use, where they differ."""

ALIASES = {"Silence": "Identity"}
"""Names of older files -> our block name."""

SPELLED = (
    "Conv", "DWConv", "Focus", "GhostConv", "SCDown", "AConv", "ADown", "ConvTranspose", *TORCH_NAMES, "Concat",
    "CBLinear", "CBFuse", "Bottleneck", "GhostBottleneck", "C1", "C2", "C2f", "C2fCIB", "C3", "C3x", "C3Ghost", "C3k2",
    "A2C2f", "RepC3", "RepNCSPELAN4", "ELAN1", "HGStem", "HGBlock", "ResNetLayer", "SPP", "SPPF", "SPPELAN", "PSA",
    "C2PSA", "C2fPSA", "AIFI", "RTDETRDecoder", "Detect",
)  # fmt: skip
"""Our blocks that Ultralytics has too, with the same arguments in the same order."""

IN_STEP = {"Bottleneck": 3, "Detect": 1}
"""Block -> how many of its first arguments mean the same in a row, where that is not all."""

TAKES_NONE = frozenset({("Upsample", "size"), ("MaxPool2d", "s"), ("Conv", "p"), ("Focus", "p")})
"""Block and argument for which a row may say None."""

OTHER_HEADS = {
    "Segment": "segmentation", "Segment26": "segmentation", "YOLOESegment": "segmentation",
    "YOLOESegment26": "segmentation", "SemanticSegment": "segmentation", "Pose": "pose", "Pose26": "pose",
    "OBB": "rotated boxes", "OBB26": "rotated boxes", "Classify": "classification", "Depth": "depth",
}  # fmt: skip
"""Head that is not a detection head -> what it is for."""

OPEN_VOCABULARY = {
    "WorldDetect": "an open-vocabulary head", "YOLOEDetect": "an open-vocabulary head",
    "C2fAttn": "text-guided attention", "ImagePoolingAttn": "text-guided attention",
}  # fmt: skip
"""Block that needs a text encoder -> what it is."""

V10_HEAD = "v10Detect"

SWITCHES_TO_LIGHT = ("C2fCIB", "C3k2", "A2C2f")
"""Blocks whose presence makes Ultralytics build the light class head, whatever the Detect line says."""

SCALE_IN_NAME = re.compile(r"yolo(?:e-)?v?\d+([nslmx])")


@dataclass(frozen=True)
class ScaleRule:
    """What the reader of YAML changes in the arguments of a block at some scales; `write` undoes it."""

    scales: str
    read: Callable[[Args], Args]
    write: Callable[[Args], Args]


FORCED: dict[str, ScaleRule] = {
    "C3k2": ScaleRule("mlx", lambda args: (*args[:1], True, *args[2:]), lambda args: args),
    "A2C2f": ScaleRule("lx", lambda args: (*args, True, 1.2), lambda args: args[:-2]),
}
"""Block -> its rule: C3k2 always holds C3k at m, l, x; A2C2f scales its residual and has a 1.2 wide MLP at l, x."""

ACTIVATIONS = {
    "SiLU()": "silu",
    "ReLU()": "relu",
    "ReLU6()": "relu6",
    f"LeakyReLU({LEAKY_SLOPE})": LEAKY,
    "Hardswish()": "hardswish",
    "Hardsigmoid()": "hardsigmoid",
    "Mish()": "mish",
    "GELU()": "gelu",
    "Sigmoid()": "sigmoid",
    "Tanh()": "tanh",
}
"""Constructor in torch.nn -> primitive."""

IN_PLACE = re.compile(r"(,\s*)?inplace\s*=\s*(True|False)")
NAMED_SLOPE = re.compile(r"negative_slope\s*=\s*")


def vocabulary() -> list[str]:
    """Every name a row may have, as YAML spells it."""
    return [NAMES.get(name, name) for name in SPELLED] + [V10_HEAD]


def detection_heads() -> list[str]:
    """The heads a row may have."""
    return [name for name in vocabulary() if name == V10_HEAD or (name in BLOCKS and BLOCKS[name].head)]


def block_named(module: str) -> str:
    """Our block for a module name of a YAML row. Raises EffscopeError for one effscope does not build."""
    if module == V10_HEAD:
        return "Detect"
    known = {NAMES.get(name, name): name for name in SPELLED} | ALIASES
    if module in known:
        return known[module]
    if module in OTHER_HEADS:
        raise EffscopeError(
            f"'{module}' is a head for {OTHER_HEADS[module]}, no detection head: effscope reads detectors, "
            f"their heads are {', '.join(detection_heads())}"
        )
    if module in OPEN_VOCABULARY:
        raise EffscopeError(f"'{module}' is {OPEN_VOCABULARY[module]}: effscope does not build that block")
    if module in BLOCKS and module not in TORCH_NAMES:
        raise EffscopeError(f"'{module}' is a block of effscope alone: no YAML row can say it")
    near = get_close_matches(module, vocabulary(), n=3, cutoff=0.5) or get_close_matches(
        f"nn.{module}", vocabulary(), n=1, cutoff=1
    )
    choices = f"did you mean {', '.join(near)}?" if near else f"choose one of {', '.join(vocabulary())}"
    raise EffscopeError(f"unknown block '{module}': {choices}")


def activation_named(text: Any) -> str:
    """The primitive of an `activation:` value such as nn.ReLU(). Raises EffscopeError for one that is not known."""
    said = re.fullmatch(r"\s*(?:torch\.)?nn\.(\w+\(.*\))\s*", text) if isinstance(text, str) else None
    call = NAMED_SLOPE.sub("", IN_PLACE.sub("", said.group(1))).replace(" ", "") if said else ""
    if call not in ACTIVATIONS:
        listed = ", ".join(f"nn.{call}" for call in ACTIVATIONS)
        raise EffscopeError(f"'activation' must be one of {listed}; got {text!r}")
    return ACTIVATIONS[call]


def activation_call(primitive: str) -> str:
    """The inverse of `activation_named`. Raises EffscopeError for a primitive that cannot be spelled."""
    for call, name in ACTIVATIONS.items():
        if name == primitive:
            return f"torch.nn.{call}"
    raise EffscopeError(f"the activation '{primitive}' has no name in torch.nn")


def rule_at(block: str, letter: str) -> ScaleRule | None:
    """The rule that changes a block's arguments at a scale, if there is one."""
    rule = FORCED.get(block)
    return rule if rule and letter and letter in rule.scales else None


def letter_of(name: str) -> str:
    """The scale letter Ultralytics reads off a file's name, "" if there is none."""
    found = SCALE_IN_NAME.search(name)
    return found.group(1) if found else ""


def switches(layout: Layout) -> list[str]:
    """The blocks of the layout that make Ultralytics build the light class head."""
    return [block for block in SWITCHES_TO_LIGHT if any(layer.block == block for layer in layout.layers)]


def detect_read(module: str, blocks: set[str], end2end: bool, reg_max: int) -> Args:
    """Arguments of the Detect block that a file's head line and top-level keys stand for."""
    if module == V10_HEAD:
        return ("nc", "light", "dual")
    tower = "light" if blocks.intersection(SWITCHES_TO_LIGHT) else DETECT_DEFAULTS[1]
    return without_defaults(("nc", tower, "dual" if end2end else "o2m", reg_max))


def detect_written(layout: Layout, args: Args) -> tuple[str, Mapping[str, Any]]:
    """Module name of a Detect block and the top-level keys it needs.

    Raises:
        EffscopeError: the class tower is not the one Ultralytics builds beside these blocks.
    """
    every: Args = (*args, *DETECT_DEFAULTS[len(args) :])
    _, tower, pairing, reg_max = every
    if pairing == "o2o":
        raise EffscopeError(
            f"{layout.name} has a one-to-one head alone: YAML cannot spell that, Ultralytics has it beside a "
            "one-to-many head only; the move nms-free makes it dual"
        )
    if (tower, pairing, reg_max) == ("light", "dual", REG_MAX):
        return V10_HEAD, {}
    cause = switches(layout)
    if tower == "light" and not cause:
        raise EffscopeError(
            f"{layout.name} has the light class head but no CIB stage: YAML cannot spell that, Ultralytics builds the "
            f"light head only beside {', '.join(SWITCHES_TO_LIGHT)}; the move nms-free makes it a v10Detect"
        )
    if tower != "light" and cause:
        stages = "CIB" if cause == ["C2fCIB"] else cause[0]
        raise EffscopeError(
            f"{layout.name} has {stages} stages under the standard class head: YAML cannot spell that, Ultralytics "
            f"builds the light head beside any {cause[0]}; search with --head light"
        )
    keys = {"end2end": True} if pairing == "dual" else {}
    return "Detect", keys if reg_max == REG_MAX else {**keys, "reg_max": reg_max}
