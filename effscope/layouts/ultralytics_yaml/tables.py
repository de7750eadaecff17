"""Tables of Ultralytics' YAML format: names of blocks, activations and heads, and rules that depend on the scale.

Source: `parse_model` and `guess_model_scale` of ultralytics 8.4.
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
"""Block name in effscope -> its name in YAML, if they differ."""

ALIASES = {"Silence": "Identity"}
"""Name in older files -> block name in effscope."""

SHARED_BLOCKS = (
    "Conv", "DWConv", "Focus", "GhostConv", "SCDown", "AConv", "ADown", "ConvTranspose", *TORCH_NAMES, "Concat",
    "CBLinear", "CBFuse", "Bottleneck", "GhostBottleneck", "C1", "C2", "C2f", "C2fCIB", "C3", "C3x", "C3Ghost", "C3k2",
    "A2C2f", "RepC3", "RepNCSPELAN4", "ELAN1", "HGStem", "HGBlock", "ResNetLayer", "SPP", "SPPF", "SPPELAN", "PSA",
    "C2PSA", "C2fPSA", "AIFI", "RTDETRDecoder", "Detect",
)  # fmt: skip
"""Blocks with the same arguments in the same order in Ultralytics."""

SAME_ARGUMENTS = {"Bottleneck": 3, "Detect": 1}
"""Block -> number of leading arguments with the same meaning in a row, if not all have it."""

MAY_BE_NONE = frozenset({("Upsample", "size"), ("MaxPool2d", "s"), ("Conv", "p"), ("Focus", "p")})
"""(block, argument) that may be None in a row."""

OTHER_HEADS = {
    "Segment": "segmentation", "Segment26": "segmentation", "YOLOESegment": "segmentation",
    "YOLOESegment26": "segmentation", "SemanticSegment": "segmentation", "Pose": "pose", "Pose26": "pose",
    "OBB": "rotated boxes", "OBB26": "rotated boxes", "Classify": "classification", "Depth": "depth",
}  # fmt: skip
"""Head that is not a detection head -> its task."""

OPEN_VOCABULARY = {
    "WorldDetect": "an open-vocabulary head", "YOLOEDetect": "an open-vocabulary head",
    "C2fAttn": "text-guided attention", "ImagePoolingAttn": "text-guided attention",
}  # fmt: skip
"""Block that needs a text encoder -> what it is."""

V10_HEAD = "v10Detect"

SWITCHES_TO_LIGHT = ("C2fCIB", "C3k2", "A2C2f")
"""If a model has one of these blocks, Ultralytics builds its Detect with the light class head."""

SCALE_IN_NAME = re.compile(r"yolo(?:e-)?v?\d+([nslmx])")


@dataclass(frozen=True)
class ScaleRule:
    """How Ultralytics changes the arguments of a block at some scales. `read` applies the change, `write` undoes it."""

    scales: str
    read: Callable[[Args], Args]
    write: Callable[[Args], Args]


SCALE_RULES: dict[str, ScaleRule] = {
    "C3k2": ScaleRule("mlx", lambda args: (*args[:1], True, *args[2:]), lambda args: args),
    "A2C2f": ScaleRule("lx", lambda args: (*args, True, 1.2), lambda args: args[:-2]),
}
"""Block -> rule: C3k2 always contains C3k at m, l, x; A2C2f has a scaled residual and an MLP ratio of 1.2 at l, x."""

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
"""Call in torch.nn -> primitive."""

IN_PLACE = re.compile(r"(,\s*)?inplace\s*=\s*(True|False)")
NAMED_SLOPE = re.compile(r"negative_slope\s*=\s*")


def vocabulary() -> list[str]:
    """All block names that a row may have, as in YAML."""
    return [NAMES.get(name, name) for name in SHARED_BLOCKS] + [V10_HEAD]


def detection_heads() -> list[str]:
    """The detection heads that a row may have."""
    return [name for name in vocabulary() if name == V10_HEAD or (name in BLOCKS and BLOCKS[name].head)]


def block_named(module: str) -> str:
    """Block for the module name of a YAML row. Raises EffscopeError for a module that effscope does not build."""
    if module == V10_HEAD:
        return "Detect"
    known = {NAMES.get(name, name): name for name in SHARED_BLOCKS} | ALIASES
    if module in known:
        return known[module]
    if module in OTHER_HEADS:
        raise EffscopeError(
            f"'{module}' is a head for {OTHER_HEADS[module]}: effscope reads detectors, "
            f"their heads are {', '.join(detection_heads())}"
        )
    if module in OPEN_VOCABULARY:
        raise EffscopeError(f"'{module}' is {OPEN_VOCABULARY[module]}: effscope does not build that block")
    if module in BLOCKS and module not in TORCH_NAMES:
        raise EffscopeError(f"'{module}' exists only in effscope: Ultralytics' YAML does not have it")
    near = get_close_matches(module, vocabulary(), n=3, cutoff=0.5) or get_close_matches(
        f"nn.{module}", vocabulary(), n=1, cutoff=1
    )
    choices = f"did you mean {', '.join(near)}?" if near else f"choose one of {', '.join(vocabulary())}"
    raise EffscopeError(f"unknown block '{module}': {choices}")


def activation_named(text: Any) -> str:
    """The primitive for an `activation:` value such as nn.ReLU(). Raises EffscopeError for an unknown one."""
    found = re.fullmatch(r"\s*(?:torch\.)?nn\.(\w+\(.*\))\s*", text) if isinstance(text, str) else None
    call = NAMED_SLOPE.sub("", IN_PLACE.sub("", found.group(1))).replace(" ", "") if found else ""
    if call not in ACTIVATIONS:
        listed = ", ".join(f"nn.{call}" for call in ACTIVATIONS)
        raise EffscopeError(f"'activation' must be one of {listed}; got {text!r}")
    return ACTIVATIONS[call]


def activation_call(primitive: str) -> str:
    """The inverse of `activation_named`. Raises EffscopeError for a primitive that torch.nn does not have."""
    for call, name in ACTIVATIONS.items():
        if name == primitive:
            return f"torch.nn.{call}"
    raise EffscopeError(f"the activation '{primitive}' has no name in torch.nn")


def rule_at(block: str, letter: str) -> ScaleRule | None:
    """The rule for a block at a scale, or None."""
    rule = SCALE_RULES.get(block)
    return rule if rule and letter and letter in rule.scales else None


def letter_of(name: str) -> str:
    """The scale letter that Ultralytics reads from a file's name, "" if there is none."""
    found = SCALE_IN_NAME.search(name)
    return found.group(1) if found else ""


def switches(layout: Layout) -> list[str]:
    """The blocks of the layout that make Ultralytics build the light class head."""
    return [block for block in SWITCHES_TO_LIGHT if any(layer.block == block for layer in layout.layers)]


def detect_read(module: str, blocks: set[str], end2end: bool, reg_max: int) -> Args:
    """Arguments of the Detect block for a file's head row, its other blocks and its top-level keys."""
    if module == V10_HEAD:
        return ("nc", "light", "dual")
    tower = "light" if blocks.intersection(SWITCHES_TO_LIGHT) else DETECT_DEFAULTS[1]
    return without_defaults(("nc", tower, "dual" if end2end else "o2m", reg_max))


def detect_written(layout: Layout, args: Args) -> tuple[str, Mapping[str, Any]]:
    """Module name of a Detect block, and the top-level keys that it needs.

    Raises:
        EffscopeError: Ultralytics builds another class tower with the blocks of this layout.
    """
    every: Args = (*args, *DETECT_DEFAULTS[len(args) :])
    _, tower, pairing, reg_max = every
    if pairing == "o2o":
        raise EffscopeError(
            f"{layout.name} has only a one-to-one head: YAML cannot express that, Ultralytics builds it only with a "
            "one-to-many head; the move nms-free makes it dual"
        )
    if (tower, pairing, reg_max) == ("light", "dual", REG_MAX):
        return V10_HEAD, {}
    cause = switches(layout)
    if tower == "light" and not cause:
        raise EffscopeError(
            f"{layout.name} has the light class head but no CIB stage: YAML cannot express that, Ultralytics builds "
            f"the light head only with {', '.join(SWITCHES_TO_LIGHT)}; the move nms-free makes it a v10Detect"
        )
    if tower != "light" and cause:
        stages = "CIB" if cause == ["C2fCIB"] else cause[0]
        raise EffscopeError(
            f"{layout.name} has {stages} stages and the standard class head: YAML cannot express that, Ultralytics "
            f"builds the light head with any {cause[0]}; set `head` to light"
        )
    keys = {"end2end": True} if pairing == "dual" else {}
    return "Detect", keys if reg_max == REG_MAX else {**keys, "reg_max": reg_max}
