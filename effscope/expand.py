"""From a layout to the graph of primitives it stands for, and what can be read off it: stages and closing convs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from effscope.blocks.table import BLOCKS, Block
from effscope.errors import EffscopeError, unknown
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.layout import IMAGE, Layer, Layout

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class Stage:
    """The k-th C2f-like layer in forward order. `number` counts from 1, `index` is the N of `model.N`."""

    number: int
    id: str
    index: int
    block: str


def block_of(layer: Layer) -> Block:
    """Table entry of a layer's block. Raises EffscopeError for a block effscope does not know."""
    if layer.block not in BLOCKS:
        raise unknown("block", layer.block, BLOCKS)
    return BLOCKS[layer.block]


def stages(layout: Layout) -> tuple[Stage, ...]:
    """The stages of a layout, numbered from 1."""
    found = [(n, layer) for n, layer in enumerate(layout.layers) if block_of(layer).stage]
    return tuple(Stage(k, layer.id, n, layer.block) for k, (n, layer) in enumerate(found, 1))


def _arguments(layout: Layout, layer: Layer, block: Block) -> dict[str, Any]:
    """Real arguments of a layer by name: channels and repeats scaled, `nc` filled in."""
    if len(layer.args) > len(block.arguments):
        raise EffscopeError(
            f"layer '{layer.id}': {layer.block} takes at most {', '.join(block.arguments)}; got {list(layer.args)}"
        )
    given = dict(zip(block.arguments, layer.args, strict=False))
    if block.scaled:
        given["c_out"] = layout.scale.channels(given["c_out"])
    if "nc" in block.arguments:
        given["nc"] = layout.nc
    if block.repeats:
        given["n"] = layout.scale.repeats(layer.repeats)
    elif layer.repeats != 1:
        raise EffscopeError(f"layer '{layer.id}': {layer.block} cannot be repeated; write it {layer.repeats} times")
    return given


def expand(layout: Layout) -> Graph:
    """Every layer of the layout as primitive nodes, named by the module paths of the well-known checkpoints.

    Raises:
        EffscopeError: an unknown block, wrong arguments or maps that do not fit together; names the layer.
    """
    nodes = [Node(INPUT, "input", args={"c": IMAGE_CHANNELS}, layer=INPUT)]
    views: dict[str, tuple[str, ...]] = {}
    info: dict[str, Any] = {}
    values: dict[str, Value] = {IMAGE: Value(INPUT, IMAGE_CHANNELS)}
    for n, layer in enumerate(layout.layers):
        block = block_of(layer)
        emitter = Emitter(f"model.{n}", layer.id, nodes, views, info)
        xs = [values[source] for source in layer.sources]
        given = _arguments(layout, layer, block)
        try:
            value = block.emit(emitter, xs if block.many else xs[0], **given)
        except EffscopeError as e:
            raise EffscopeError(f"layout {layout.name}, layer '{layer.id}' ({layer.block}): {e}") from None
        if value is not None:
            values[layer.id] = value
    if not views:
        views["features"] = (values[layout.layers[-1].id].name,)
    return Graph(tuple(nodes), views, tuple(layer.id for layer in layout.layers), info)


def closing_conv(graph: Graph, stage: Stage, at: str = "stage") -> Node:
    """The convolution a stage is ranked by: the stage's own last one, or the last one of its last inner block.

    Args:
        graph: an expanded layout.
        stage: one of `stages(layout)`.
        at: "stage" or "block".
    """
    convs = [node for node in graph.in_layer(stage.id) if node.op == "conv2d"]
    if at == "stage":
        return convs[-1]
    inner = [node for node in convs if re.match(rf"model\.{stage.index}\.m\.\d+\.", node.name)]
    return inner[-1]
