"""Moves: changes of a layout, Layout -> Layout. A move keeps the id of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from effscope.errors import EffscopeError, unknown
from effscope.layouts.blocks.heads import DETECT_DEFAULTS, without_defaults
from effscope.layouts.dense import DOWNSAMPLING, ghost, shallow, slim
from effscope.layouts.expand import block_of, stages
from effscope.results import HEAD
from effscope.spec.layout import Layer, Layout, Scale

DECOUPLED_FROM = 512
"""YOLOv10 decouples the downsampling convolutions with at least this many nominal output channels."""


SWAPPABLE = ("C2f", "C2fCIB", "C3", "C3k2")
"""Stage blocks that C2fCIB can replace: their first argument is the channels, and they keep the map size."""


def _stage_layers(layout: Layout) -> list[Layer]:
    found = [layout.layer(stage.id) for stage in stages(layout)]
    return [layer for layer in found if layer.block in SWAPPABLE]


def _cib(layer: Layer, *, large_kernel: bool) -> Layer:
    if layer.block not in SWAPPABLE:
        raise EffscopeError(
            f"layer '{layer.id}' is a {layer.block}: a CIB can only replace {', '.join(SWAPPABLE)} stages"
        )
    if layer.repeats == 0:
        raise EffscopeError(f"layer '{layer.id}' has no inner block that a CIB can replace")
    tail = (True, True) if large_kernel else (True,)
    return replace(layer, block="C2fCIB", args=(layer.args[0], *tail))


def cib(layer: Layer, _: Scale) -> Layer:
    """Compact inverted blocks in the stage, with residuals, as in YOLOv10.

    Raises EffscopeError for other blocks, and for a stage without inner blocks.
    """
    return _cib(layer, large_kernel=False)


def cib_lk(layer: Layer, _: Scale) -> Layer:
    """Compact inverted blocks with the 7x7 depthwise branch. Raises EffscopeError as `cib` does."""
    return _cib(layer, large_kernel=True)


def _head(layout: Layout) -> list[Layer]:
    return [layer for layer in layout.layers if layer.block == "Detect"]


def _detect(layer: Layer, what: str) -> tuple[Any, ...]:
    """The head's arguments with defaults. Raises EffscopeError for a layer that is not a Detect head."""
    if layer.block != "Detect":
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: only a Detect head has {what}")
    return (*layer.args, *DETECT_DEFAULTS[len(layer.args) :])


def light_head(layer: Layer, _: Scale) -> Layer:
    """Two depthwise-separable 3x3 instead of two full 3x3 in each class tower (arXiv 2405.14458, section 3.2)."""
    nc, _, *rest = _detect(layer, "a class tower")
    return replace(layer, args=without_defaults((nc, "light", *rest)))


def nms_free(layer: Layer, _: Scale) -> Layer:
    """Add a one-to-one head to the one-to-many head; inference uses only the new head (arXiv 2405.14458, 3.1)."""
    nc, tower, _, *rest = _detect(layer, "two assignments")
    return replace(layer, args=without_defaults((nc, tower, "dual", *rest)))


def _deepest_pooling(layout: Layout) -> list[Layer]:
    """The last SPPF of the backbone, or nothing if the layout has attention already."""
    if any(layer.block in ("PSA", "C2PSA") for layer in layout.layers):
        return []
    return [layer for layer in layout.layers[: layout.n_backbone] if layer.block == "SPPF"][-1:]


def psa(layer: Layer, _: Scale) -> tuple[Layer, Layer]:
    """Partial self-attention after the layer (arXiv 2405.14458, 3.3); the layer's readers then read the attention.

    Raises EffscopeError for a layer without channels.
    """
    if block_of(layer).many or not block_of(layer).scaled:
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: attention can only follow a layer with channels")
    return layer, Layer(f"{layer.id}-psa", "PSA", layer.args[:1], (layer.id,))


def _late_downsampling(layout: Layout) -> list[Layer]:
    """Stride-2 3x3 convolutions of at least 512 nominal channels: layers 5, 7 and 19 in YOLOv8."""
    return [
        la
        for la in layout.layers
        if la.block == "Conv" and la.args[1:] == DOWNSAMPLING and la.args[0] >= DECOUPLED_FROM
    ]


def scdown(layer: Layer, _: Scale) -> Layer:
    """Decoupled downsampling: a pointwise convolution changes the channels, a depthwise one the size.

    Raises EffscopeError for a layer that is not a 3x3 Conv of stride 2.
    """
    if layer.block not in ("Conv", "SCDown"):
        raise EffscopeError(f"layer '{layer.id}' is a {layer.block}: SCDown can only replace Conv layers")
    if layer.args[1:] != DOWNSAMPLING:
        raise EffscopeError(f"layer '{layer.id}' is not a 3x3 convolution of stride 2: SCDown would change its shape")
    return replace(layer, block="SCDown")


Places = Mapping[int, str]
"""Number of a stage -> id of the layer there that a move changes in a search; `HEAD` -> id of the head."""


def _stage_places(layout: Layout) -> Places:
    return {stage.number: stage.id for stage in stages(layout)}


def _downsampling_places(layout: Layout) -> Places:
    """The downsampling convolution that leads to each stage, directly or through a concatenation."""
    found: dict[int, str] = {}
    by_id = {layer.id: layer for layer in layout.layers}
    for stage in stages(layout):
        sources = by_id[stage.id].sources
        if sources[0] in by_id and by_id[sources[0]].block == "Concat":
            sources = by_id[sources[0]].sources
        read = [by_id[source] for source in sources if source in by_id]
        downsampling = [one.id for one in read if one.block == "Conv" and one.args[1:] == DOWNSAMPLING]
        if downsampling:
            found[stage.number] = downsampling[0]
    return found


def _head_places(layout: Layout) -> Places:
    head = _head(layout)
    return {HEAD: head[0].id} if head else {}


PARTS: dict[str, Callable[[Layout], Places]] = {
    "stage": _stage_places,
    "downsampling": _downsampling_places,
    "head": _head_places,
}
"""Part of a model -> where it is. A search may change each part of a stage once."""


@dataclass(frozen=True)
class Move:
    """A move.

    Attributes:
        apply: (layer, scale of the layout) -> changed layer, or a sequence of layers; the first one has the id of the
            given layer.
        part: a key of PARTS: what a search may apply the move to; None: the search does not use the move.
        default: the layers that the move changes by default; None: all of its part that it makes smaller.
    """

    apply: Callable[[Layer, Scale], Layer | tuple[Layer, ...]]
    part: str | None = None
    default: Callable[[Layout], list[Layer]] | None = None


MOVES: dict[str, Move] = {
    "cib": Move(cib, "stage", _stage_layers),
    "cib-lk": Move(cib_lk, "stage", _stage_layers),
    "slim-75": Move(partial(slim, share=0.75), "stage"),
    "slim-50": Move(partial(slim, share=0.5), "stage"),
    "shallow": Move(shallow, "stage"),
    "scdown": Move(scdown, "downsampling", _late_downsampling),
    "ghost": Move(ghost, "downsampling"),
    "light-head": Move(light_head, "head", _head),
    "nms-free": Move(nms_free, default=_head),
    "psa": Move(psa, default=_deepest_pooling),
}
"""Name -> Move."""


def places(layout: Layout, name: str) -> Places:
    """Where a search can apply a move: the layers of its part that the move changes.

    Raises:
        EffscopeError: an unknown move, or a search does not use it.
    """
    searched = [known for known, found in MOVES.items() if found.part is not None]
    if name not in searched:
        raise unknown("`moves`", name, searched)
    part = MOVES[name].part
    assert part is not None
    return {number: one for number, one in PARTS[part](layout).items() if _changes(layout, name, one)}


def _changes(layout: Layout, name: str, layer_id: str) -> bool:
    """Whether a move can change a layer, and the layer is not as after the move already."""
    layer = layout.layer(layer_id)
    try:
        made = MOVES[name].apply(layer, layout.scale)
    except EffscopeError:
        return False
    return made != layer and not (layer.block == "C2fCIB" and name in ("cib", "cib-lk"))


def _default(layout: Layout, name: str) -> list[Layer]:
    chosen = MOVES[name].default
    return [layout.layer(one) for one in places(layout, name).values()] if chosen is None else chosen(layout)


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
    chosen = _default(layout, name) if layers is None else [layout.layer(layer_id) for layer_id in layers]
    if not chosen:
        raise EffscopeError(f"move {name}: {layout.name} has no layer to apply it to; give the layers")
    for layer in chosen:
        made = MOVES[name].apply(layer, layout.scale)
        layout = layout.chain(made) if isinstance(made, tuple) else layout.swap([made])
    return layout


def swap_stage(layout: Layout, number: int, name: str) -> Layout:
    """The layout with the part of one stage (numbered from 1; `HEAD` for the head) changed by a move.

    Raises:
        EffscopeError: the move cannot change this stage.
    """
    known = places(layout, name)
    if number not in known:
        raise unknown(f"stage for move {name}", number, known)
    return move(layout, name, [known[number]])
