"""Moves: changes of a layout, Layout -> Layout. A move keeps the id of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from effscope.errors import EffscopeError, unknown
from effscope.layouts.blocks.heads import DETECT_DEFAULTS, without_defaults
from effscope.layouts.expand import block_of, stages
from effscope.spec.layout import Layer, Layout

DECOUPLED_FROM = 512
"""YOLOv10 decouples the downsampling convolutions with at least this many nominal output channels."""


SWAPPABLE = ("C2f", "C2fCIB", "C3", "C3k2")
"""Stage blocks that C2fCIB can replace: their first argument is the channels, and they keep the map size."""


def _is_not_compact(layer: Layer) -> bool:
    return layer.block in SWAPPABLE and layer.block != "C2fCIB"


def _stage_layers(layout: Layout) -> list[Layer]:
    found = [layout.layer(stage.id) for stage in stages(layout)]
    return [layer for layer in found if layer.block in SWAPPABLE]


def _cib(layer: Layer, *, large_kernel: bool) -> Layer:
    if layer.block not in SWAPPABLE:
        raise EffscopeError(
            f"layer '{layer.id}' is a {layer.block}: a CIB can only replace {', '.join(SWAPPABLE)} stages"
        )
    tail = (True, True) if large_kernel else (True,)
    return replace(layer, block="C2fCIB", args=(layer.args[0], *tail))


def cib(layer: Layer) -> Layer:
    """Compact inverted blocks in the stage, with residuals, as in YOLOv10. Raises EffscopeError for other blocks."""
    return _cib(layer, large_kernel=False)


def cib_lk(layer: Layer) -> Layer:
    """Compact inverted blocks with the 7x7 depthwise branch. Raises EffscopeError for other blocks."""
    return _cib(layer, large_kernel=True)


def _head(layout: Layout) -> list[Layer]:
    return [layer for layer in layout.layers if layer.block == "Detect"]


def _detect(layer: Layer, what: str) -> tuple[Any, ...]:
    """The head's arguments with defaults. Raises EffscopeError for a layer that is not a Detect head."""
    if layer.block != "Detect":
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: only a Detect head has {what}")
    return (*layer.args, *DETECT_DEFAULTS[len(layer.args) :])


def light_head(layer: Layer) -> Layer:
    """Two depthwise-separable 3x3 instead of two full 3x3 in each class tower (arXiv 2405.14458, section 3.2)."""
    nc, _, *rest = _detect(layer, "a class tower")
    return replace(layer, args=without_defaults((nc, "light", *rest)))


def nms_free(layer: Layer) -> Layer:
    """Add a one-to-one head to the one-to-many head; inference uses only the new head (arXiv 2405.14458, 3.1)."""
    nc, tower, _, *rest = _detect(layer, "two assignments")
    return replace(layer, args=without_defaults((nc, tower, "dual", *rest)))


def _deepest_pooling(layout: Layout) -> list[Layer]:
    """The last SPPF of the backbone, or nothing if the layout has attention already."""
    if any(layer.block in ("PSA", "C2PSA") for layer in layout.layers):
        return []
    return [layer for layer in layout.layers[: layout.n_backbone] if layer.block == "SPPF"][-1:]


def psa(layer: Layer) -> tuple[Layer, Layer]:
    """Partial self-attention after the layer (arXiv 2405.14458, 3.3); the layer's readers then read the attention.

    Raises EffscopeError for a layer without channels.
    """
    if block_of(layer).many or not block_of(layer).scaled:
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: attention can only follow a layer with channels")
    return layer, Layer(f"{layer.id}-psa", "PSA", layer.args[:1], (layer.id,))


def _late_downsampling(layout: Layout) -> list[Layer]:
    """Stride-2 3x3 convolutions of at least 512 nominal channels: layers 5, 7 and 19 in YOLOv8."""
    return [la for la in layout.layers if la.block == "Conv" and la.args[1:] == (3, 2) and la.args[0] >= DECOUPLED_FROM]


def scdown(layer: Layer) -> Layer:
    """Decoupled downsampling: a pointwise convolution changes the channels, a depthwise one the size.

    Raises EffscopeError for a layer that is not a 3x3 Conv of stride 2.
    """
    if layer.block not in ("Conv", "SCDown"):
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: SCDown can only replace Conv layers")
    if layer.args[1:] != (3, 2):
        raise EffscopeError(f"layer '{layer.id}' is not a 3x3 convolution of stride 2: SCDown would change its shape")
    return replace(layer, block="SCDown")


@dataclass(frozen=True)
class Move:
    """A move.

    Attributes:
        apply: layer -> changed layer, or a sequence of layers; the first one has the id of the given layer.
        default: the layers that the move changes by default.
        changes_stage: whether a search may apply the move to a stage layer; None: the search does not use the move.
    """

    apply: Callable[[Layer], Layer | tuple[Layer, ...]]
    default: Callable[[Layout], list[Layer]]
    changes_stage: Callable[[Layer], bool] | None = None


MOVES: dict[str, Move] = {
    "cib": Move(cib, _stage_layers, _is_not_compact),
    "cib-lk": Move(cib_lk, _stage_layers, _is_not_compact),
    "light-head": Move(light_head, _head),
    "nms-free": Move(nms_free, _head),
    "psa": Move(psa, _deepest_pooling),
    "scdown": Move(scdown, _late_downsampling),
}
"""Name -> Move."""


def move(layout: Layout, name: str, layers: Sequence[str] | None = None) -> Layout:
    """The layout after a move.

    Args:
        layout: any layout.
        name: key of MOVES.
        layers: ids of the layers to change; default: those of `Move.default`.

    Raises:
        EffscopeError: an unknown move or layer, a layer that the move cannot change, no layer to change.
    """
    if name not in MOVES:
        raise unknown("move", name, MOVES)
    chosen = MOVES[name].default(layout) if layers is None else [layout.layer(layer_id) for layer_id in layers]
    if not chosen:
        raise EffscopeError(f"move {name}: {layout.name} has no layer to apply it to; give the layers")
    for layer in chosen:
        made = MOVES[name].apply(layer)
        layout = layout.chain(made) if isinstance(made, tuple) else layout.swap([made])
    return layout


def swap_stage(layout: Layout, number: int, name: str) -> Layout:
    """The layout with one stage (numbered from 1) changed by a move. Raises EffscopeError for an unknown stage."""
    by_number: dict[int, Any] = {stage.number: stage.id for stage in stages(layout)}
    if number not in by_number:
        raise unknown("stage", number, by_number)
    return move(layout, name, [by_number[number]])
