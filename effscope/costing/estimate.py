"""What a layout costs: the laws summed over its graph, by layer, stage and primitive. No torch, no numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from effscope.costing.laws import Counts, count
from effscope.expand import expand, stages
from effscope.results import CostResult, CostRow, origin
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout
from effscope.spec.ops import owned, shapes
from effscope.spec.rewrite import deploy_form
from effscope.spec.shape_rules import Shape

CONVENTION = (
    "params as built; macs, flops, conv_flops of the one-head inference view, batch 1, branches unmerged; "
    "flops = 2*macs + bias + norm + activation + pooling + softmax + sums; conv_flops = 2*MAC of convolutions"
)
FLOAT32_BYTES = 4
HEAD, REST = "head", "between stages"


@dataclass(frozen=True)
class NodeCost:
    """One node with its output shape, its counts and the parameters first seen at it."""

    node: Node
    shape: Shape
    counts: Counts
    params: int


def parameters(graph: Graph) -> int:
    """Parameters of a graph, trained and frozen; shared ones count once."""
    sizes = {key: math.prod(t.shape) for n in graph.nodes for key, t in owned(n).items() if t.kind != "buffer"}
    return sum(sizes.values())


def node_costs(graph: Graph, image: Shape) -> list[NodeCost]:
    """Cost of every node for an input (batch, channels, height, width). Raises EffscopeError if layers do not fit."""
    known = shapes(graph, image)
    seen: set[str] = set()
    rows = []
    for node in graph.nodes:
        out = known[node.name]
        new = {key: t for key, t in owned(node).items() if t.kind != "buffer" and key not in seen}
        seen.update(new)
        counts = count(node.op, node.args, [known[name] for name in node.inputs], out)
        rows.append(NodeCost(node, out, counts, sum(math.prod(t.shape) for t in new.values())))
    return rows


def total(rows: Iterable[NodeCost]) -> tuple[Counts, int]:
    """Sum of counts and of parameters."""
    counts, params = Counts(), 0
    for row in rows:
        counts, params = counts + row.counts, params + row.params
    return counts, params


def _row(name: str, block: str, rows: list[NodeCost], built: dict[str, int], stage: int | None = None) -> CostRow:
    counts, _ = total(rows)
    params = sum(built[row.node.name] for row in rows)
    moved = FLOAT32_BYTES * (counts.elements_in + counts.elements_out + params)
    shape = () if rows[-1].node.op == "split" else tuple(rows[-1].shape)
    return CostRow(name, block, shape, params, counts.macs, counts.flops, counts.conv_flops, moved, stage)


def _grouped(rows: list[NodeCost], key: Callable[[NodeCost], str]) -> dict[str, list[NodeCost]]:
    groups: dict[str, list[NodeCost]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def cost(layout: Layout, imgsz: int = 640) -> CostResult:
    """Exact cost of a layout on one square image.

    Args:
        layout: what to count.
        imgsz: side of the image in px.

    Raises:
        EffscopeError: layers that do not fit together at this size.
    """
    graph = expand(layout)
    inference = graph.keep("decoded") if "decoded" in graph.views else graph
    rows = node_costs(inference, (1, 3, imgsz, imgsz))
    built = {row.node.name: row.params for row in rows}
    numbers = {stage.id: stage.number for stage in stages(layout)}
    blocks = {layer.id: layer.block for layer in layout.layers}
    heads = {layer.id for layer in layout.layers if layer.block == "Detect"}

    def stage_of(row: NodeCost) -> str:
        layer = row.node.layer
        return f"stage {numbers[layer]}" if layer in numbers else HEAD if layer in heads else REST

    by_layer = _grouped([r for r in rows if r.node.op != "input"], lambda r: r.node.layer)
    by_stage = _grouped([r for r in rows if r.node.op != "input"], stage_of)
    by_op = _grouped([r for r in rows if r.node.op != "input"], lambda r: r.node.op)
    order = {f"stage {k}": k for k in numbers.values()}
    others = [name for name in (REST, HEAD) if name in by_stage]
    counts, _ = total(rows)
    return CostResult(
        model=layout.name,
        imgsz=imgsz,
        convention=CONVENTION,
        params=parameters(graph),
        params_one_head=parameters(inference),
        params_deploy=parameters(deploy_form(graph)[0]),
        macs=counts.macs,
        flops=counts.flops,
        conv_flops=counts.conv_flops,
        bytes=FLOAT32_BYTES * (counts.elements_in + counts.elements_out + parameters(inference)),
        uncounted=(),
        layers=tuple(
            _row(f"model.{layout.index(i)}", blocks[i], group, built, numbers.get(i)) for i, group in by_layer.items()
        ),
        stages=tuple(_row(name, "", by_stage[name], built, order.get(name)) for name in (*order, *others)),
        ops=tuple(_row(name, "", group, built) for name, group in by_op.items()),
        origin=origin({"imgsz": imgsz}, layout.digest()),
    )
