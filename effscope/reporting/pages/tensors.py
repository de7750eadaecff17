"""Parameters of weights of an unknown architecture."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Section, Table, Text, share
from effscope.results import TensorsResult


def pages(result: TensorsResult) -> tuple[Page, ...]:
    """One page; its files have the same names as those of a cost by layer."""
    parts = (
        Text(tuple(f"not counted: {what}" for what in result.uncounted)),
        tensors_table(result),
        Rows("cost_by_layer", result.to_rows()),
    )
    return (Page(f"Parameters of {result.model}", (Section("", parts),), "cost_by_layer", result, "cost.json"),)


def tensors_table(result: TensorsResult) -> Table:
    """Parameters by part."""
    rows = tuple((row.name, row.block, f"{row.params:,}", share(row.params, result.params)) for row in result.layers)
    total = ("total", "", f"{result.params:,}", "100.0")
    columns = ("part", "block", "params", "%")
    left = frozenset({"part", "block"})
    return Table(result.model, columns, (*rows, total), left, result.notes, narrow=("block", "%"))
