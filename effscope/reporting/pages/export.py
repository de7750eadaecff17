"""The files that a model was exported to."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Table, single, warning
from effscope.results import ExportResult


def pages(result: ExportResult) -> tuple[Page, ...]:
    """One page."""
    return (single("export", result, warning(result.notes), export_table(result), Rows("export", result.to_rows())),)


def export_table(result: ExportResult) -> Table:
    """A row per file."""
    title = f"{result.model} for images of {result.imgsz} px"
    return Table(title, ("format", "file"), tuple(result.files.items()), frozenset({"format", "file"}))
