"""What a layout costs: the laws summed over its graph, by layer, stage and primitive. No torch, no numpy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from effscope.costing.laws import Counts, count
from effscope.expand import expand, outline
from effscope.results import CostResult, CostRow, TensorRow, TensorsResult, origin
from effscope.spec.graph import Graph, Node
from effscope.spec.layout import Layout
from effscope.spec.ops import owned, shapes
from effscope.spec.outline import Outline
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
    return cost_graph(expand(layout), outline(layout), imgsz)


def cost_graph(graph: Graph, outline: Outline, imgsz: int) -> CostResult:
    """Exact cost of any graph on one square image, in the rows its outline names.

    Raises:
        EffscopeError: nodes that do not fit together at this size.
    """
    inference = graph.keep("decoded") if "decoded" in graph.views else graph
    rows = node_costs(inference, (1, 3, imgsz, imgsz))
    built = {row.node.name: row.params for row in rows}
    counted = [row for row in rows if row.node.op != "input"]

    def stage_of(row: NodeCost) -> str:
        part = row.node.layer
        return f"stage {outline.stages[part]}" if part in outline.stages else HEAD if part in outline.heads else REST

    by_part, by_stage = _grouped(counted, lambda r: r.node.layer), _grouped(counted, stage_of)
    by_op = _grouped(counted, lambda r: r.node.op)
    order = {f"stage {k}": k for k in dict.fromkeys(outline.stages.values()) if f"stage {k}" in by_stage}
    others = [name for name in (REST, HEAD) if name in by_stage]
    counts, _ = total(rows)
    apart = [_unreached(outline)] if outline.unreached else []
    extra = sum(outline.unreached.values())
    return CostResult(
        model=outline.model,
        imgsz=imgsz,
        convention=CONVENTION,
        params=parameters(graph) + extra,
        params_one_head=parameters(inference) + extra,
        params_deploy=parameters(deploy_form(graph)[0]) + extra,
        macs=counts.macs,
        flops=counts.flops,
        conv_flops=counts.conv_flops,
        bytes=FLOAT32_BYTES * (counts.elements_in + counts.elements_out + parameters(inference)),
        uncounted=_uncounted(rows),
        layers=(
            *(_row(*outline.rows[part], group, built, outline.stages.get(part)) for part, group in by_part.items()),
            *apart,
        ),
        stages=(*(_row(name, "", by_stage[name], built, order.get(name)) for name in (*order, *others)), *apart),
        ops=(*(_row(name, "", group, built) for name, group in by_op.items()), *apart),
        origin=origin({"imgsz": imgsz}, outline.digest),
        notes=outline.notes,
    )


def _unreached(outline: Outline) -> CostRow:
    """A row for the parameters no node owns, so that every column still sums to its total."""
    params = sum(outline.unreached.values())
    return CostRow("not reached", f"{len(outline.unreached)} tensors", (), params, 0, 0, 0, FLOAT32_BYTES * params)


def _uncounted(rows: Iterable[NodeCost]) -> tuple[str, ...]:
    """What computes and has no law, with how often it is called."""
    calls = Counter(row.node.args["target"] or row.node.module for row in rows if row.node.op == "opaque")
    return tuple(f"{name} x {n}" if n > 1 else name for name, n in calls.items())


def cost_of_tensors(graph: Graph, outline: Outline) -> TensorsResult:
    """Parameters of weights whose architecture is not known, by part."""
    by_part: dict[str, int] = {}
    for node in graph.nodes:
        own = sum(math.prod(t.shape) for t in owned(node).values() if t.kind != "buffer")
        by_part[node.layer] = by_part.get(node.layer, 0) + own
    rows = tuple(TensorRow(*outline.rows[part], params) for part, params in by_part.items())
    why = "everything but parameters: these are tensors, how they are joined is not known"
    return TensorsResult(outline.model, parameters(graph), (why,), rows, origin({}, outline.digest), outline.notes)
