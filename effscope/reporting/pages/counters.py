"""Counts of other tools, and the terms of their difference to effscope's count."""

from __future__ import annotations

from effscope.config import size_words
from effscope.reporting.page import Page, Rows, Table, single, warning
from effscope.reporting.pages.cost import uncounted_lines
from effscope.results import CounterRow, CountersResult


def pages(result: CountersResult) -> tuple[Page, ...]:
    """One page."""
    return (page(result),)


def page(result: CountersResult, explain: bool = False) -> Page:
    """The numbers; with `explain` also the terms of each tool."""
    terms = [terms_table(result, row.counter) for row in result.rows] if explain else []
    uncounted = warning(uncounted_lines(result.uncounted_ops))
    return single("counters", result, uncounted, counters_table(result), *terms, Rows("counters", result.to_rows()))


def counters_table(result: CountersResult) -> Table:
    """The count of each tool; if the tools were run, also the difference to their own number."""
    ran = any(row.version for row in result.rows)
    rows = tuple(
        (row.counter, f"{row.count:,}", row.unit, _change(row.count, row.ours))
        + ((_answer(row), row.version) if ran else ())
        for row in result.rows
    )
    notes = [f"ours: {result.macs:,} multiply-adds at inference"]
    notes += [f"{row.counter}: {row.about}" for row in result.rows]
    notes += [f"{row.counter} {row.version}" for row in result.rows if row.version and row.measured is None]
    return Table(
        f"{result.model} at {size_words(result.imgsz)}",
        ("as", "count", "unit", "% to ours", *(("tool - rule", "version") if ran else ())),
        rows,
        frozenset({"as", "unit", "version"}),
        (*notes, *result.notes),
        narrow=("version",) if ran else (),
    )


def _change(count: int, ours: int) -> str:
    return f"{100 * (count / ours - 1):+.2f}" if ours else "-"


def _answer(row: CounterRow) -> str:
    if row.measured is None:
        return "failed" if row.version else "not run"
    return "the same" if row.explained else f"{row.measured - row.count:+,}"


def terms_table(result: CountersResult, counter: str) -> Table:
    """From effscope's multiply-adds to the count of a tool, the largest term first."""
    row = next(row for row in result.rows if row.counter == counter)
    terms = [term for term in result.terms if term.counter == counter]
    start = "ours" if row.unit == "MACs" else "ours, 2 FLOPs each"
    lines = (
        (start, "", "", f"{row.ours:,}"),
        *((term.operation, f"{term.calls}", term.why, f"{term.difference:+,}") for term in terms),
        (f"as {counter} counts", "", "", f"{row.count:,}"),
    )
    return Table(
        f"{result.model} at {size_words(result.imgsz)} as {counter} counts it, {row.unit}",
        ("operation", "calls", "why", row.unit),
        lines,
        frozenset({"operation", "why"}),
        (row.about,),
        narrow=("calls",),
    )
