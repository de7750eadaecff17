"""From a layout to its graph of primitives, its outline, its stages and their closing convolutions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import Parameter, signature
from typing import Any

from effscope.errors import EffscopeError, LayerError, unknown
from effscope.layouts.blocks.heads import CLASS_TOWERS, PAIRINGS
from effscope.layouts.blocks.table import BLOCKS, Block
from effscope.layouts.blocks.yolox import FORMS
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.layout import IMAGE, Layer, Layout
from effscope.spec.ops import ACTIVATIONS
from effscope.spec.outline import Outline


@dataclass(frozen=True)
class Stage:
    """A stage of a layout: number from 1, id of the layer, index N in `model.N`, block."""

    number: int
    id: str
    index: int
    block: str


def block_of(layer: Layer) -> Block:
    """Entry of BLOCKS for a layer's block. Raises EffscopeError for an unknown block."""
    if layer.block not in BLOCKS:
        raise unknown("block", layer.block, BLOCKS)
    return BLOCKS[layer.block]


def stages(layout: Layout) -> tuple[Stage, ...]:
    """The stages of a layout, numbered from 1: its C2f-like layers; if there are none, the layers with
    several convolutions in series (repeated rows, chains)."""
    rows = list(enumerate(layout.layers))
    found = [row for row in rows if block_of(row[1]).stage] or [row for row in rows if _in_a_row(layout, row[1])]
    return tuple(Stage(k, layer.id, n, layer.block) for k, (n, layer) in enumerate(found, 1))


def _in_a_row(layout: Layout, layer: Layer) -> bool:
    dense = (
        [link for link in layer.args[0] if link[:1] == ("conv2d",) and link[7] == 1] if layer.block == "Chain" else ()
    )
    repeated = layout.scale.repeats(layer.repeats) > 1 and not block_of(layer).repeats
    return len(dense) > 1 or repeated


def outline(layout: Layout) -> Outline:
    """The outline of a layout: one row per layer, named by its module path."""
    return Outline(
        model=layout.name,
        rows={layer.id: (f"model.{n}", layer.block) for n, layer in enumerate(layout.layers)},
        stages={stage.id: stage.number for stage in stages(layout)},
        heads=frozenset(layer.id for layer in layout.layers if block_of(layer).head),
        digest=layout.digest(),
    )


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _numbers(value: Any, passes: Callable[[Any], bool] = _positive) -> bool:
    return isinstance(value, tuple) and bool(value) and all(passes(v) for v in value)


Check = tuple[Callable[[Any], bool], str]

CHANNELS: Check = (_positive, "a positive whole number of channels")
SIDE: Check = (_positive, "a positive whole kernel side")
FLAG: Check = (_flag, "True or False")
COUNT: Check = (_positive, "a positive whole number")
REPEATS: Check = (_count, "a whole number, 0 or more")
RATIO: Check = (_fraction, "a number above 0")
ROW: Check = (lambda v: isinstance(v, tuple), "a tuple of primitives")

CHECKS: dict[str, Check] = {
    **dict.fromkeys(("c_out", "c_in", "c_mid", "c_split", "c_part", "c_hidden"), CHANNELS),
    "k": SIDE,
    "s": (lambda v: v is None or _positive(v), "a positive whole stride"),
    "p": (lambda v: v is None or _count(v), "a padding, 0 or more, or None"),
    "d": (_positive, "a positive whole dilation"),
    "groups": COUNT,
    "act": (lambda v: _flag(v) or v in ACTIVATIONS, f"True, False or one of {', '.join(ACTIVATIONS)}"),
    "kernels": (_numbers, "a list of kernel sides"),
    "widths": (_numbers, "a list of channel counts"),
    "picks": (lambda v: _numbers(v, _count), "a list of positions"),
    "sides": (lambda v: _numbers(v, _count) and len(v) == 4, "four paddings: left, right, top, bottom"),  # noqa: PLR2004
    "scale": (_positive, "a positive whole factor"),
    "size": (lambda v: v is None, "None: only a factor can be given"),
    "mode": (lambda v: v in ("nearest", "bilinear"), "'nearest' or 'bilinear'"),
    "dim": (lambda v: v == 1, "1: maps are concatenated over channels"),
    **dict.fromkeys(("shortcut", "large_kernel", "c3k", "attention", "residual", "light", "first"), FLAG),
    "area": (lambda v: _positive(v) or v == -1, "a positive whole number of areas"),
    **dict.fromkeys(("depth", "heads", "ratio"), COUNT),
    "n_pools": (lambda v: v is None or _positive(v), "a positive whole number of poolings"),
    **dict.fromkeys(("expansion", "mlp_ratio"), RATIO),
    "nc": (lambda v: v == "nc" or _positive(v), "nc"),
    "class_tower": (lambda v: v in CLASS_TOWERS, f"one of {', '.join(CLASS_TOWERS)}"),
    "pairing": (lambda v: v in PAIRINGS, f"one of {', '.join(PAIRINGS)}"),
    "reg_max": (_positive, "a positive whole number of bins"),
    "squeeze": (_count, "a whole number r: squeeze to c_in / r channels; 0: no squeeze and excitation"),
    "form": (lambda v: v in FORMS, f"one of {', '.join(FORMS)}"),
    **dict.fromkeys(("links", "towers", "anchors"), ROW),
}
"""Argument of a block -> its check, and the text for an error."""


@cache
def _needed(block: Block) -> list[str]:
    """Arguments without a default in the block's function. A layer must give them; `nc` comes from the layout."""
    given = signature(block.emit).parameters
    return [name for name in block.arguments if name != "nc" and given[name].default is Parameter.empty]


def _check(layer: Layer, block: Block) -> None:
    """Raises EffscopeError for arguments, repeats or sources that the block cannot take."""
    names = block.arguments
    if not len(_needed(block)) <= len(layer.args) <= len(names):
        raise EffscopeError(f"{layer.block} takes the arguments {', '.join(names)}; got {list(layer.args)}")
    for name, value in zip(names, layer.args, strict=False):
        passes, text = CHECKS[name]
        if not passes(value):
            raise EffscopeError(f"{layer.block}: '{name}' must be {text}, got {value!r}")
    if block.many and layer.repeats != 1:
        raise EffscopeError(f"{layer.block} cannot be repeated: it reads several maps")
    passes, text = REPEATS if block.repeats else COUNT
    if not passes(layer.repeats):
        raise EffscopeError(f"{layer.block}: repeats must be {text}, got {layer.repeats!r}")
    if not layer.sources or (len(layer.sources) > 1 and not block.many):
        raise EffscopeError(f"{layer.block} reads {'several maps' if block.many else 'one map'}, got {layer.sources}")


def _arguments(layout: Layout, layer: Layer, block: Block) -> dict[str, Any]:
    """Name -> actual argument of a layer: channels and repeats are scaled, `nc` is filled in."""
    _check(layer, block)
    given = dict(zip(block.arguments, layer.args, strict=False))
    if block.scaled:
        given["c_out"] = layout.scale.channels(given["c_out"])
    if "nc" in block.arguments:
        given["nc"] = layout.nc
    if block.repeats:
        given["n"] = layout.scale.repeats(layer.repeats)
    return given


Maps = Value | list[Value]


def _emit(layout: Layout, layer: Layer, e: Emitter, xs: list[Any]) -> Maps | None:
    """Append the layer's nodes. A block without an argument `n` is repeated as a whole."""
    block = block_of(layer)
    given = _arguments(layout, layer, block)
    times = 1 if block.repeats else layout.scale.repeats(layer.repeats)
    if block.many:
        made: Maps | None = block.emit(e, xs, **given)
        return made
    value: Any = xs[0]
    if not isinstance(value, Value):
        raise EffscopeError("it reads a layer with several maps: only CBFuse can do that")
    for i in range(times):
        value = block.emit(e.at(i) if times > 1 else e, value, **given)
    return value  # type: ignore[no-any-return]


def _map(values: dict[str, Maps], source: str) -> Maps:
    if source not in values:
        raise EffscopeError(f"it reads layer '{source}', which has no output map")
    return values[source]


def expand(layout: Layout) -> Graph:
    """The graph of a layout. Node names are the module paths of the published checkpoints.

    Raises:
        LayerError: an unknown block, wrong arguments, or maps that do not fit together; the message names the layer.
    """
    nodes = [Node(INPUT, "input", args={"c": layout.ch}, layer=INPUT)]
    views: dict[str, tuple[str, ...]] = {}
    info: dict[str, Any] = {}
    values: dict[str, Maps] = {IMAGE: Value(INPUT, layout.ch)}
    for n, layer in enumerate(layout.layers):
        emitter = Emitter(f"model.{n}", layer.id, nodes, views, info, layout.activation)
        try:
            xs = [_map(values, source) for source in layer.sources]
            if views:
                raise EffscopeError("no layer may follow the detection head")
            value = _emit(layout, layer, emitter, xs)
        except EffscopeError as e:
            raise LayerError(
                f"layout {layout.name}, layer '{layer.id}' ({layer.block}): {e}", layer.id, str(e)
            ) from None
        if value is not None:
            values[layer.id] = value
    if not views:
        last = values[layout.layers[-1].id]
        views["features"] = tuple(value.name for value in ([last] if isinstance(last, Value) else last))
    return Graph(tuple(nodes), views, tuple(layer.id for layer in layout.layers), info)


def closing_conv(graph: Graph, stage: Stage, at: str = "stage") -> Node:
    """The convolution that is ranked for a stage.

    Args:
        graph: an expanded layout.
        stage: one of `stages(layout)`.
        at: "stage": the last convolution of the stage; "block": the last one of its last inner block.

    Raises:
        EffscopeError: `at` is "block" and the stage has no inner block.
    """
    convs = [node for node in graph.in_layer(stage.id) if node.op == "conv2d"]
    if at == "stage":
        return convs[-1]
    inner = [node for node in convs if re.match(rf"model\.{stage.index}\.m\.\d+\.", node.name)]
    if not inner:
        raise EffscopeError(f"stage {stage.number} (layer '{stage.id}') has no inner block: set `at` to stage")
    return inner[-1]
