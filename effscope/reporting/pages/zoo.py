"""Models and their published figures."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Table, single
from effscope.results import ZooResult, ZooRow

MOST_NOTES = 9

COUNT_NAMES = {"params": "params", "params_deploy": "deploy params", "macs": "MACs", "conv_flops": "conv FLOPs"}
"""Count of a ZooRow -> its column."""


def pages(result: ZooResult) -> tuple[Page, ...]:
    """One page."""
    return (single("zoo", result, zoo_table(result), Rows("zoo", result.to_rows())),)


def zoo_table(result: ZooResult) -> Table:
    """Effscope's counts and the published ones, with the difference in brackets."""
    params, work = result.compares
    rows = tuple(_zoo_row(row, params, work) for row in result.models)
    built = ("params",) if params != "params" else ()
    columns = ("model", *built, COUNT_NAMES[params], "published", COUNT_NAMES[work], "published ", "AP")
    notes = [f"{result.size}; published, AP: {result.source}; in brackets: ours - published"]
    if any(row.params is None for row in result.models):
        notes.append("-: effscope cannot build it yet")
    notes += [f"{row.model}*: {row.note}" for row in result.models if row.params is not None and row.note][:MOST_NOTES]
    shown = tuple(row[:1] + row[1 + (not built) :] for row in rows)
    return Table(result.title, columns, shown, frozenset({"model"}), tuple(notes), narrow=(*built, "published"))


def _zoo_row(row: ZooRow, params: str, work: str) -> tuple[str, ...]:
    ap = "" if row.ap is None else f"{row.ap:.1f}"
    if row.params is None:
        published = (_against(row.published_params_m, None, "M"), "", _against(row.published_flops_g, None, "G"))
        return (row.model, "-", "-", *published, ap)
    of_params, of_work = getattr(row, params) / 1e6, getattr(row, work) / 1e9
    return (
        row.model + ("*" if row.note else ""),
        f"{row.params:,}",
        f"{of_params:.2f} M",
        _against(row.published_params_m, of_params, "M"),
        f"{of_work:.2f} G",
        _against(row.published_flops_g, of_work, "G"),
        ap,
    )


def _against(published: float | None, ours: float | None, unit: str) -> str:
    if published is None:
        return ""
    return f"{published:g} {unit}" + ("" if ours is None else f" ({round(ours - published, 2) + 0.0:+.2f})")
