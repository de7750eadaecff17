"""A cost with the time a device takes for it at best, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from effscope.costing.model import stage_of
from effscope.costing.nodes import NodeCost, node_costs, operation
from effscope.costing.roofline import Device, Predicted, grouped, predicted
from effscope.results import CostResult, CostRow
from effscope.spec.graph import Graph, image_shape
from effscope.spec.outline import Outline
from effscope.spec.rewrite import deploy_form


def with_times(result: CostResult, graph: Graph, outline: Outline, device: Device, *, fused: bool = True) -> CostResult:
    """The result with `predicted_ms` and `bound` in every row, of the deploy form on a device.

    Args:
        result: what `cost_graph` counted of the graph.
        graph: the same graph.
        outline: the same outline.
        device: what runs it, at the result's dtype.
        fused: as in `roofline.predicted`.

    Raises:
        EffscopeError: the device has no figure for the dtype.
    """
    form, _ = deploy_form(graph)
    costs = node_costs(form, image_shape(result.imgsz))
    outputs = [name for names in form.views.values() for name in names]
    times = predicted(costs, device, result.dtype, fused=fused, outputs=outputs)
    whole = sum(times.values(), Predicted())

    def timed(rows: tuple[CostRow, ...], key: Callable[[NodeCost], str]) -> tuple[CostRow, ...]:
        """A row that is folded away in deploy form takes no time."""
        by_row = grouped(costs, times, key)
        found = [by_row.get(row.name, Predicted()) for row in rows]
        return tuple(
            replace(row, predicted_ms=1000 * t.seconds, bound=t.bound) for row, t in zip(rows, found, strict=True)
        )

    names = {part: row for part, (row, _) in outline.rows.items()}
    return replace(
        result,
        layers=timed(result.layers, lambda cost: names.get(cost.node.layer, "")),
        stages=timed(result.stages, lambda cost: stage_of(outline, cost.node.layer)),
        ops=timed(result.ops, operation),
        device=device.name,
        device_source=device.source,
        fused=fused,
        predicted_ms=1000 * whole.seconds,
        bound=whole.bound,
        ridge=device.ridge(result.dtype),
    )
