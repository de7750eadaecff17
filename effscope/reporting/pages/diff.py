"""Two models stage by stage."""

from __future__ import annotations

from effscope.config import size_words
from effscope.reporting.page import Page, Rows, Table, short, single
from effscope.results import DiffResult


def pages(result: DiffResult) -> tuple[Page, ...]:
    """One page."""
    return (single("diff", result, diff_table(result), Rows("diff", result.to_rows())),)


def diff_table(result: DiffResult) -> Table:
    """Parameters and FLOPs of both, and the change from the first to the second."""
    rows = [
        (row.part, *_pair(row.params_a, row.params_b), *_pair(row.flops_a, row.flops_b)) for row in result.rows
    ]  # fmt: skip
    totals = result.total
    whole = ("total", *(cell for name in ("params", "flops") for cell in _pair(*(int(totals[name][k]) for k in "ab"))))
    columns = ("part", "params A", "params B", "change", "FLOPs A", "FLOPs B", "change ")
    title = f"A = {result.a}, B = {result.b}, at {size_words(result.imgsz)}"
    notes = ("params with one head; FLOPs as in `effscope cost`; change: from A to B",)
    return Table(title, columns, (*rows, whole), frozenset({"part"}), notes, narrow=("change ", "change"))


def _pair(a: int | None, b: int | None) -> tuple[str, str, str]:
    first, second = ("-" if n is None else short(n) for n in (a, b))
    return first, second, f"{100 * (b / a - 1):+.1f} %" if a and b is not None else ""
