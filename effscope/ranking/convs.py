"""Select the convolutions and linear layers to rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from effscope.costing.torch_laws import function_of
from effscope.errors import EffscopeError
from effscope.layouts.expand import Stage, closing_conv, stages
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout

LAYERS = ("conv2d", "conv_transpose2d", "linear")
"""Primitives with one weight that is ranked."""

MAPS_OUT = ("conv2d", "conv_transpose2d")
"""Those whose outputs are maps, (B, C, H, W)."""

TORCH_CONVS = frozenset(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))
"""Torch functions without a separate primitive, or with a form of a call that the primitive does not cover."""


@dataclass(frozen=True)
class RankedConv:
    """A convolution or linear layer to rank.

    Attributes:
        number: number of its stage; or of the layer if every one is ranked.
        node: the convolution or linear layer.
        spatial: full convolutions larger than 1x1 for `separability`: those of the stage, or the node itself.
        no_rank: why it has no rank, "" if it can have one.
        note: how to read its rank, "" if there is nothing special.
    """

    number: int
    node: Node
    spatial: tuple[Node, ...] = ()
    no_rank: str = ""
    note: str = ""


def spatial_convs(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The full convolutions larger than 1x1: those that a depthwise-separable convolution can replace."""
    found = (
        n
        for n in nodes
        if n.op == "conv2d" and n.args["groups"] == 1 and tuple(n.args["k"]) != (1, 1) and not n.args.get("no_rank")
    )
    return tuple({n.params: n for n in found}.values())


def is_ranked(node: Node) -> bool:
    """Whether a node is a convolution or linear layer that owns its weight."""
    has_weight = node.op in LAYERS or function_of(str(node.args.get("target", ""))) in TORCH_CONVS
    return has_weight and bool(node.params)


def is_transposed(node: Node) -> bool:
    """Whether the weight of a node is (C_in, C_out / groups, ...)."""
    return "conv_transpose" in (f"{node.op} {node.args.get('target', '')}")


def groups_of(node: Node) -> int:
    """Groups of a convolution; 1 for a linear layer."""
    given = node.args.get("groups") or node.args.get("keywords", {}).get("groups", 1)
    return int(given)


def every_conv(graph: Graph) -> tuple[RankedConv, ...]:
    """All convolutions and linear layers of a graph, numbered from 1 in forward order, without the fixed one of a DFL
    head. The arguments `no_rank` and `note` of a node become those of `RankedConv`."""
    convs = [node for node in graph.nodes if is_ranked(node) and node.args.get("init") != "arange"]
    distinct: dict[tuple[tuple[str, str], ...], Node] = {}
    for node in convs:
        distinct.setdefault(node.params, node)
    return tuple(
        RankedConv(n, node, spatial_convs([node]), node.args.get("no_rank", ""), node.args.get("note", ""))
        for n, node in enumerate(distinct.values(), 1)
    )


def layout_convs(graph: Graph, layout: Layout, at: str) -> tuple[RankedConv, ...]:
    """The convolutions of a layout to rank.

    Args:
        graph: graph of the layout.
        layout: defines the stages.
        at: "stage" (closing convolution of each stage), "block" (last one of the stage's last block) or "all".

    Raises:
        EffscopeError: the layout has none.
    """
    if at == "all":
        return every_conv(graph)
    found = stages(layout)
    if not found:
        raise EffscopeError(f"{layout.name} has no C2f-like stage to rank: give `at` all to rank every convolution")
    convs = [_of_stage(graph, stage, at) for stage in found]
    if all(conv.no_rank for conv in convs):
        raise EffscopeError(f"{layout.name} has no stage with inner blocks: give `at` stage or all")
    return tuple(convs)


def _of_stage(graph: Graph, stage: Stage, at: str) -> RankedConv:
    try:
        node = closing_conv(graph, stage, at)
    except EffscopeError:
        return RankedConv(stage.number, closing_conv(graph, stage), no_rank="no block: the stage has no inner blocks")
    return RankedConv(stage.number, node, spatial_convs(graph.in_layer(stage.id) if at == "stage" else [node]))
