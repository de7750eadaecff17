"""Other tools' numbers as tables: what each counts, and the terms between it and ours."""

from __future__ import annotations

from effscope.reporting.cost_tables import uncounted_notes
from effscope.reporting.tables import Table
from effscope.results import CounterRow, CountersResult


def _change(count: int, ours: int) -> str:
    return f"{100 * (count / ours - 1):+.2f}" if ours else "-"


def _answer(row: CounterRow) -> str:
    if row.measured is None:
        return ""
    return "the same" if row.explained else f"{row.measured - row.count:+,}"


def counters_table(result: CountersResult) -> Table:
    """The number each tool gives; where the tools were run, whether they give it."""
    ran = any(row.version for row in result.rows)
    rows = tuple(
        (row.counter, f"{row.count:,}", row.unit, _change(row.count, row.ours))
        + ((_answer(row), row.version) if ran else ())
        for row in result.rows
    )
    notes = [f"ours: {result.macs:,} multiply-adds at inference"]
    notes += [f"{row.counter}: {row.about}" for row in result.rows] + uncounted_notes(result.uncounted_ops)
    return Table(
        f"{result.model} at {result.imgsz} px",
        ("as", "count", "unit", "% to ours", *(("tool - rule", "version") if ran else ())),
        rows,
        frozenset({"as", "unit", "version"}),
        (*notes, *result.notes),
        narrow=("version",),
    )


def terms_table(result: CountersResult, counter: str) -> Table:
    """From our multiply-adds to a tool's number, the largest term first."""
    row = next(row for row in result.rows if row.counter == counter)
    terms = [term for term in result.terms if term.counter == counter]
    start = "our multiply-adds" if row.unit == "MACs" else "our multiply-adds, 2 FLOPs each"
    lines = (
        (start, "", "", f"{row.ours:,}"),
        *((term.operation, f"{term.calls}", term.why, f"{term.difference:+,}") for term in terms),
        (f"as {counter} counts", "", "", f"{row.count:,}"),
    )
    return Table(
        f"{result.model} at {result.imgsz} px as {counter} counts it, {row.unit}",
        ("operation", "calls", "why", row.unit),
        lines,
        frozenset({"operation", "why"}),
        (row.about,),
    )
