"""The library: every change alone, fitted once: what it saves, and what it costs at once. Pure."""

from __future__ import annotations

from dataclasses import replace

from effscope.layouts.moves import MOVES
from effscope.results import Change, LibraryRow, stage_name
from effscope.searching.jobs import Job
from effscope.searching.policies.state import Standing, State, begun

WHOLE = "model"
"""Key of the whole base among the times of a `pieces` job."""


def library_jobs(state: State) -> tuple[Job, ...]:
    """The jobs that the library still needs, or an empty tuple."""
    book, changes = state.book, state.changes
    fits = state.missing([book.fit(change) for change in changes])
    pieces = () if state.table is not None else (book.pieces(changes),)
    return fits or state.missing([*(book.start((change,)) for change in changes), book.rank(), *pieces])


def library(state: State) -> Standing:
    """How far a search is that only makes the library."""
    now = begun(state)
    if now.base is None or not now.learned:
        return now
    jobs = library_jobs(state)
    return replace(now, jobs=jobs, stop_reason="" if jobs else "only the library was asked for")


def piece_key(change: Change) -> str:
    """Name of a changed piece in a table of latencies, e.g. "8 slim-50"."""
    return f"{stage_name(change.stage)} {change.move}"


def part_key(change: Change) -> str:
    """Name of the piece that a change replaces, e.g. "8 stage"."""
    return f"{stage_name(change.stage)} {MOVES[change.move].part}"


def rows(state: State) -> tuple[LibraryRow, ...]:
    """A row per change; none if the search did not measure every change alone."""
    base = state.found(state.book.base())
    if base is None or base.ap is None:
        return ()
    found = [row for change in state.changes if (row := _row(state, change, base.ap)) is not None]
    return tuple(found) if len(found) == len(state.changes) else ()


def _row(state: State, change: Change, base_ap: float) -> LibraryRow | None:
    fit, ap = state.found(state.book.fit(change)), state.ap_at_once((change,))
    if fit is None or ap is None:
        return None
    times, saved = piece_times(state), state.costs.saved[change]
    before, after = times.get(part_key(change)), times.get(piece_key(change))
    return LibraryRow(change.stage, change.move, saved.params, saved.flops, before, after, fit.error, ap, base_ap - ap)


def piece_times(state: State) -> dict[str, float]:
    """Name of a piece -> ms with one thread, or as the user measured it; empty if nothing is measured."""
    if state.table is not None:
        return {key: found.ms for key, found in state.table.items()}
    found = state.found(state.book.pieces(state.changes))
    return {} if found is None else {key: latency.ms for key, latency in found.latency.items()}
