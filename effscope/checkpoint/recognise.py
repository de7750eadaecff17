"""Which built-in layout, after which moves, a bare state dict belongs to: told from key names and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from torch import Tensor

from effscope.checkpoint.architecture import layout_of, without_constants
from effscope.checkpoint.read import Checkpoint
from effscope.errors import EffscopeError
from effscope.expand import expand
from effscope.families.catalog import ZOO
from effscope.moves import move
from effscope.spec.layout import Layer, Layout
from effscope.spec.ops import owned

State = Mapping[str, Tensor]

SIGNS: dict[str, tuple[str, Callable[[Layer], bool]]] = {
    "cib-lk": ("m.0.cv1.2.conv1.conv.weight", lambda layer: layer.block == "C2f"),
    "cib": ("m.0.cv1.4.conv.weight", lambda layer: layer.block == "C2f"),
    "scdown": ("cv2.conv.weight", lambda layer: layer.block == "Conv"),
    "nms-free": ("one2one_cv2.0.0.conv.weight", lambda layer: layer.block == "Detect"),
    "light-head": ("cv3.0.0.0.conv.weight", lambda layer: layer.block == "Detect"),
}
"""Move -> the key (below its layer) that shows it was made, and the layers it can show up in."""


def _moved(layout: Layout, state: State) -> Layout:
    for n, layer in enumerate(layout.layers):
        for name, (sign, applies) in SIGNS.items():
            if applies(layout.layer(layer.id)) and f"model.{n}.{sign}" in state:
                with suppress(EffscopeError):  # the key is there for another reason: the layout is another one
                    layout = move(layout, name, [layer.id])
    return layout


def _classes(layout: Layout, state: State) -> int | None:
    head = len(layout.layers) - 1
    bias = state.get(f"model.{head}.cv3.0.2.bias")
    return None if bias is None else len(bias)


def _fits(layout: Layout, state: State) -> bool:
    tensors = {key: t.shape for node in expand(layout).nodes for key, t in owned(node).items()}
    counters = {key for key in tensors if key.endswith("num_batches_tracked")}
    if set(tensors) - counters != {k for k in state if not k.endswith("num_batches_tracked")}:
        return False
    return all(tuple(state[key].shape) == tuple(tensors[key]) for key in set(tensors) - counters)


@dataclass(frozen=True)
class Identity:
    """What a checkpoint turned out to be: its layout, and its state by that layout's names; or why there is none."""

    layout: Layout | None
    state: State
    why: str = ""


def identify(checkpoint: Checkpoint) -> Identity:
    """The layout of a checkpoint, from its module tree if it has one, else from its tensors.

    A tree that is a built-in model's gives that model's layout, in nominal numbers; any other gives the real ones.
    """
    state = without_constants(checkpoint.state)
    if not checkpoint.modules:
        layout = recognise(state)
        why = "" if layout else "its tensors fit no built-in model"
        return Identity(layout, state, why)
    try:
        layout = layout_of(checkpoint)
    except EffscopeError as e:
        return Identity(None, checkpoint.state, str(e))
    named = recognise(state)
    return Identity(named if named and same_model(named, layout) else layout, state)


def same_model(a: Layout, b: Layout) -> bool:
    """Whether two layouts are one model: the same primitives, joined in the same way."""
    nodes = [[replace(node, layer="") for node in expand(layout).nodes] for layout in (a, b)]
    return nodes[0] == nodes[1]


def recognise(state: State) -> Layout | None:
    """The layout whose tensors have exactly these names and shapes, or None if no built-in model fits.

    Args:
        state: state dict with Ultralytics' names (`model.0.conv.weight`); batch counters may be missing.
    """
    numbers = [int(key.split(".")[1]) for key in state if re.match(r"model\.\d+\.", key)]
    for make in ZOO.values() if numbers else ():
        base = make(80)
        if len(base.layers) != max(numbers) + 1 or not _opens(base, state):
            continue
        nc = _classes(base, state)
        if nc is None:
            continue
        layout = _moved(replace(base, nc=nc), state)
        if _fits(layout, state):
            return layout
    return None


def _opens(layout: Layout, state: State) -> bool:
    """Whether the first convolution of the state is as wide as the layout's: the cheap half of the comparison."""
    first = next((t for key, t in state.items() if key.endswith("weight") and t.dim() == 4), None)  # noqa: PLR2004
    stem = layout.layers[0]
    widths = [layout.scale.channels(a) for a in stem.args[:1] if isinstance(a, int)]
    return first is not None and (not widths or stem.block != "Conv" or first.shape[0] == widths[0])
