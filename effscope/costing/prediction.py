"""A cost with the time a device takes for it at best, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from effscope.costing.estimate import NodeCost, node_costs
from effscope.costing.model_cost import operation, stage_of
from effscope.costing.roofline import Device, Predicted, predicted_by
from effscope.results import CostResult, CostRow
from effscope.spec.graph import Graph
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
    costs = node_costs(form, (1, 3, result.imgsz, result.imgsz))
    outputs = [name for names in form.views.values() for name in names]

    def timed(rows: tuple[CostRow, ...], key: Callable[[NodeCost], str]) -> tuple[CostRow, ...]:
        times = predicted_by(costs, device, key, result.dtype, fused=fused, outputs=outputs)
        return tuple(_with_time(row, times.get(row.name)) for row in rows)

    whole = sum(
        predicted_by(costs, device, lambda row: "", result.dtype, fused=fused, outputs=outputs).values(), Predicted()
    )
    return replace(
        result,
        layers=timed(
            result.layers, lambda row: outline.rows[row.node.layer][0] if row.node.layer in outline.rows else ""
        ),
        stages=timed(result.stages, lambda row: stage_of(outline, row.node.layer)),
        ops=timed(result.ops, operation),
        device=device.name,
        device_source=device.source,
        predicted_ms=1000 * whole.seconds,
        bound=whole.bound,
        ridge=device.ridge(result.dtype),
    )


def _with_time(row: CostRow, time: Predicted | None) -> CostRow:
    """A row that is folded away in deploy form takes no time."""
    return replace(
        row, predicted_ms=1000 * time.seconds if time else 0.0, bound=time.bound if time and time.seconds else ""
    )
