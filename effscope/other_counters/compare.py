"""The count of each other counter for a model, and the terms of the difference to effscope's multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from effscope.config import CountersConfig
from effscope.config.image_size import ImageSize, image_shape
from effscope.costing.model import inference_view, uncounted
from effscope.costing.nodes import NodeCost, node_costs, operation
from effscope.other_counters.tools import COUNTERS, counter
from effscope.results import CounterRow, CountersResult, CounterTerm, origin
from effscope.spec.graph import Graph, input_channels
from effscope.spec.outline import Outline
from effscope.spec.shape_rules import Shape

NOT_RUN, ALSO_RUN = "merged or folded away", "of another head, which runs too"
"""Why a node is only in one of the two forms."""


def counters(
    graph: Graph, outline: Outline, imgsz: ImageSize, names: Sequence[str] = (), image: Shape | None = None
) -> CountersResult:
    """The count of each counter for a model, and the terms of the difference to effscope's multiply-adds.

    Args:
        graph: the graph to count.
        outline: names of its rows.
        imgsz: size of the image.
        names: keys of `COUNTERS`; empty means all.
        image: shape of the input, if the size does not tell it.

    Raises:
        EffscopeError: an unknown counter.
    """
    tools = {name: counter(name, detector=bool(outline.heads)) for name in names or COUNTERS}
    image = image_shape(imgsz, input_channels(graph)) if image is None else image
    known = {row.node.name: row for row in node_costs(graph, image)}
    ours = node_costs(inference_view(graph), image, known)
    macs = sum(row.counts.macs for row in ours)
    rows, terms = [], []
    for name, tool in tools.items():
        theirs = node_costs(tool.form(graph), image, known)
        counted = {row.node.name: tool.count(row) for row in theirs}
        count = sum(n for n, _ in counted.values())
        rows.append(CounterRow(name, tool.unit, count, tool.per_mac * macs, tool.about))
        terms += _terms(name, tool.per_mac, ours, theirs, counted)
    return CountersResult(
        outline.model,
        imgsz,
        macs,
        tuple(rows),
        tuple(terms),
        origin(CountersConfig(imgsz), outline.digest),
        outline.notes,
        uncounted(ours),
    )


def _terms(
    name: str, per_mac: int, ours: list[NodeCost], theirs: list[NodeCost], counted: Mapping[str, tuple[int, str]]
) -> list[CounterTerm]:
    """One term per operation and reason of the difference to effscope's multiply-adds, largest first."""
    expected = {row.node.name: per_mac * row.counts.macs for row in ours}
    found: dict[tuple[str, str], list[int]] = {}
    for row in {row.node.name: row for row in (*ours, *theirs)}.values():
        count, says = counted.get(row.node.name, (0, NOT_RUN))
        if row.node.name not in expected and count == per_mac * row.counts.macs:
            says = ALSO_RUN
        difference = count - expected.get(row.node.name, 0)
        if difference:
            found.setdefault((operation(row), says), []).append(difference)
    terms = [CounterTerm(name, op, says, len(parts), sum(parts)) for (op, says), parts in found.items()]
    return sorted(terms, key=lambda term: -abs(term.difference))
