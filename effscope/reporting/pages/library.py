"""The library of a search: what each change alone saves and costs."""

from __future__ import annotations

from effscope.reporting.page import Part, Rows, Table, points, signed
from effscope.results import LibraryRow, SearchResult, plain, stage_name

COLUMNS = ("stage", "move", "params", "FLOPs", "ms", "error", "AP at once", "loss")


def library_table(result: SearchResult) -> tuple[Part, ...]:
    """A row per change, by stage; savings in percent of the user's model."""
    assert result.given is not None
    whole = result.given
    timed = result.library_ms is not None and any(row.ms_after is not None for row in result.library)
    columns = tuple(column for column in COLUMNS if timed or column != "ms")
    cells = []
    for row in result.library:
        known = {
            "stage": stage_name(row.stage),
            "move": row.move,
            "params": _saved(row.params / whole.params),
            "FLOPs": _saved(row.flops / whole.flops),
            "ms": _faster(row, result.library_ms),
            "error": "" if row.error is None else f"{row.error:.3f}",
            "AP at once": points(row.ap),
            "loss": signed(100 * row.damage),
        }
        cells.append(tuple(known[column] for column in columns))
    notes = [
        "one change alone, fitted without labels to the part it replaces; savings in percent of your model",
        "'error': of the new part's outputs, squared, over the variance of the old part's",
        f"'loss': AP x 100 of the base, {points(result.base_ap_start)}, minus 'AP at once', before labelled training",
    ]
    if timed:
        notes.append("'ms': the part timed alone; what it saves, in percent of the whole model's time")
    table = Table("every change alone", columns, tuple(cells), frozenset({"stage", "move"}), tuple(notes))
    return (table, Rows("library", [plain(row) for row in result.library]))


def _saved(share: float) -> str:
    return f"{signed(-100 * share)} %"


def _faster(row: LibraryRow, whole_ms: float | None) -> str:
    if row.ms_before is None or row.ms_after is None or not whole_ms:
        return ""
    return _saved((row.ms_before - row.ms_after) / whole_ms)
