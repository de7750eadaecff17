"""The layout of a checkpoint, from its module tree or from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from effscope.checkpoint.contents import Checkpoint
from effscope.checkpoint.identify.by_tree import image_channels, layout_of, without_constants
from effscope.checkpoint.identify.yolox_keys import from_yolox_keys
from effscope.errors import EffscopeError
from effscope.layouts.blocks.heads import REG_MAX
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import ZOO
from effscope.spec.emit import BN_EPS
from effscope.spec.layout import Layer, Layout
from effscope.spec.ops import owned

State = Mapping[str, Tensor]

LAYER_KEY = re.compile(r"model\.\d+\.")
YOLOX_KEYS = ("backbone.backbone.", "head.stems.")
"""Prefixes of the keys of the YOLOX repository."""

MOVE_KEYS: dict[str, tuple[str, Callable[[Layer], bool]]] = {
    "cib-lk": ("m.0.cv1.2.conv1.conv.weight", lambda layer: layer.block == "C2f"),
    "cib": ("m.0.cv1.4.conv.weight", lambda layer: layer.block == "C2f"),
    "scdown": ("cv2.conv.weight", lambda layer: layer.block == "Conv"),
    "nms-free": ("one2one_cv2.0.0.conv.weight", lambda layer: layer.block == "Detect"),
    "light-head": ("cv3.0.0.0.conv.weight", lambda layer: layer.block == "Detect"),
}
"""Move -> the key under a layer that exists only after the move, and the layers that the move can change."""


def _moved(layout: Layout, state: State) -> Layout:
    """The layout after the moves that the keys of the state show."""
    for n, layer in enumerate(layout.layers):
        for name, (key, applies) in MOVE_KEYS.items():
            if applies(layout.layer(layer.id)) and f"model.{n}.{key}" in state:
                with suppress(EffscopeError):  # the move does not apply, so the key has another cause
                    layout = move(layout, name, [layer.id])
    return layout


def _classes(layout: Layout, state: State) -> int | None:
    """Number of classes of the head, or None for an unknown head."""
    head = len(layout.layers) - 1
    for key in ("cv3.0.2.bias", "cls_preds.0.bias", "enc_score_head.bias"):
        bias = state.get(f"model.{head}.{key}")
        if bias is not None:
            return len(bias)
    return None


def _fits(layout: Layout, state: State) -> bool:
    """Whether the state has the names and shapes of the layout. Batch counters may be missing."""
    tensors = {key: t.shape for node in expand(layout).nodes for key, t in owned(node).items()}
    counters = {key for key in tensors if key.endswith("num_batches_tracked")}
    if set(tensors) - counters != {k for k in state if not k.endswith("num_batches_tracked")}:
        return False
    return all(tuple(state[key].shape) == tuple(tensors[key]) for key in set(tensors) - counters)


@dataclass(frozen=True)
class Identified:
    """The layout of a checkpoint and its state with the names of that layout; without a layout, the reason."""

    layout: Layout | None
    state: State
    why: str = ""


def identify(checkpoint: Checkpoint) -> Identified:
    """The layout of a checkpoint, from its module tree if it has one, else from its tensors.

    For a built-in model it is the zoo's layout, with nominal channels; for other models the channels are those of the
    file.
    """
    state: State = without_constants(checkpoint.state)
    if not checkpoint.modules or checkpoint.kind in ("torchscript", "onnx", "pt2"):
        if any(key.startswith(YOLOX_KEYS) for key in state):
            with suppress(EffscopeError):  # keys of another project with the same prefix
                state = _for_rgb(from_yolox_keys(state))
        layout = recognise(state)
        if layout is None:
            state = unfolded(state)
            layout = recognise(state)
        if layout is None:
            return Identified(None, checkpoint.state, "its tensors do not fit any built-in model")
        return Identified(layout, state)
    try:
        layout = layout_of(checkpoint)
    except EffscopeError as e:
        return Identified(None, checkpoint.state, str(e))
    named = recognise(state)
    return Identified(named if named and same_model(named, layout) else layout, state)


def _for_rgb(state: State) -> State:
    """Convert YOLOX weights from BGR in 0-255 to RGB in 0-1: changes the weight of the first convolution."""
    key = "model.0.conv.conv.weight"
    weight = state.get(key)
    if weight is None or weight.dim() != 4 or weight.shape[1] != 12:  # noqa: PLR2004 - four pixels with three channels
        return state
    pixels = weight.float().reshape(-1, 4, 3, *weight.shape[2:]).flip(2).flatten(1, 2)
    return {**state, key: 255 * pixels}


def unfolded(state: State) -> State:
    """A state dict with folded batch norms, with the names of the unfolded model and the same outputs.

    Each conv unit `X.conv` with a bias gets an `X.bn` that only adds the bias. Exported graphs and fused checkpoints
    have folded norms. Merged parallel branches stay merged, so such models are not recognised.
    """
    made: dict[str, Tensor] = {}
    for key, tensor in state.items():
        unit = key.removesuffix(".conv.bias")
        if unit == key or f"{unit}.conv.weight" not in state or unit.endswith("dfl"):
            made[key] = tensor
            continue
        made[f"{unit}.bn.weight"] = torch.ones_like(tensor)
        made[f"{unit}.bn.bias"] = tensor
        made[f"{unit}.bn.running_mean"] = torch.zeros_like(tensor)
        made[f"{unit}.bn.running_var"] = torch.full_like(tensor, 1 - BN_EPS)
    head = max((int(key.split(".")[1]) for key in made if LAYER_KEY.match(key)), default=None)
    if f"model.{head}.cv3.0.2.bias" in made:  # graphs have the fixed DFL weights as a constant, or not at all
        bins = torch.arange(REG_MAX, dtype=torch.float32).view(1, REG_MAX, 1, 1)
        made.setdefault(f"model.{head}.dfl.conv.weight", bins)
    return made


def same_model(a: Layout, b: Layout) -> bool:
    """Whether two layouts have the same primitives with the same connections."""
    nodes = [[replace(node, layer="") for node in expand(layout).nodes] for layout in (a, b)]
    return nodes[0] == nodes[1]


def recognise(state: State) -> Layout | None:
    """The built-in layout, with moves, that has exactly these names and shapes; None if there is none.

    Args:
        state: state dict with the names of Ultralytics (`model.0.conv.weight`); batch counters may be missing.
    """
    numbers = [int(key.split(".")[1]) for key in state if LAYER_KEY.match(key)]
    for make in ZOO.values() if numbers else ():
        base = make(80)
        if len(base.layers) != max(numbers) + 1 or not _same_stem(base, state):
            continue
        nc = _classes(base, state)
        if nc is None:
            continue
        layout = _moved(replace(base, nc=nc, ch=image_channels(state)), state)
        if _fits(layout, state):
            return layout
    return None


def _same_stem(layout: Layout, state: State) -> bool:
    """Whether the first convolutions of the state and the layout have the same width. This is fast to check."""
    first, stem = state.get("model.0.conv.weight"), layout.layers[0]
    return stem.block != "Conv" or (first is not None and len(first) == layout.scale.channels(stem.args[0]))
