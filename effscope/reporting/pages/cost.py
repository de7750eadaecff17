"""What a model costs: by layer, stage, primitive and form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from effscope.config import size_words
from effscope.reporting.page import Page, Rows, Table, Text, share, short, single, warning
from effscope.results import DECODED_FORM, OTHER_KINDS, CostResult, CostRow, FormRow, UncountedRow, plain

COST_VIEWS = {"layer": "layers", "stage": "stages", "op": "ops", "form": "forms"}
"""Kind of rows -> field of the result with these rows."""

FUSED = {
    True: "activations, norms and sums are fused into the operation before them",
    False: "nothing is fused, as in eager torch",
}
"""Whether a prediction assumes fusion -> its description."""


def pages(result: CostResult) -> tuple[Page, ...]:
    """One page per view; the first one saves the result."""
    first, *others = (page(result, by) for by in COST_VIEWS)
    return (replace(first, saved="cost.json"), *(replace(other, result=None) for other in others))


def page(result: CostResult, by: str = "layer") -> Page:
    """The page of one view; `by` is a key of `COST_VIEWS`."""
    name, rows = f"cost_by_{by}", [plain(row) for row in getattr(result, COST_VIEWS[by])]
    table = forms_table(result) if by == "form" else cost_table(result, by)
    parts = (warning((*result.notes, *coverage_lines(result))), table, Rows(name, rows))
    return single(name, result, *parts, title=f"Cost of {result.model}", details=(_how_counted(result),))


def cost_table(result: CostResult, by: str = "layer") -> Table:
    """Cost by layer, stage or primitive, with the totals below."""
    timed = result.predicted_ms is not None
    rows = [_cost_row(row, result) for row in getattr(result, COST_VIEWS[by])]
    total = {
        by: "total",
        "params": f"{result.params_one_head:,}",
        "% params": "100.0",
        "MACs": short(result.macs),
        "FLOPs": short(result.flops),
        "% FLOPs": "100.0",
        "MB moved": f"{result.bytes / 1e6:,.1f}",
        "FLOP/B": f"{result.flops / result.bytes:,.1f}" if result.bytes else "-",
        "ms": f"{result.predicted_ms or 0:.3f}",
        "bound": result.bound,
    }
    hidden = (frozenset() if timed else {"ms", "bound"}) | (frozenset() if any(r["block"] for r in rows) else {"block"})
    columns = tuple(column for column in (by, *COLUMNS) if column not in hidden)
    cells = tuple(
        tuple(row.get(column, "") for column in columns) for row in ({by: row.pop(""), **row} for row in rows)
    )
    return Table(
        f"{result.model} at {size_words(result.imgsz)}",
        columns,
        (*cells, tuple(total.get(column, "") for column in columns)),
        frozenset({by, "block", "bound"}),
        _cost_notes(result),
        narrow=("FLOP/B", "bound", "MACs", "MB moved", "% params", "% FLOPs", "block"),
    )


COLUMNS = ("block", "params", "% params", "MACs", "FLOPs", "% FLOPs", "MB moved", "FLOP/B", "ms", "bound")
"""Columns after the name of a row."""


def _cost_row(row: CostRow, result: CostResult) -> dict[str, str]:
    """Column -> cell; the name of the row is under the empty name."""
    return {
        "": row.name + (f" (stage {row.stage})" if row.stage and not row.name.startswith("stage") else ""),
        "block": row.block,
        "params": f"{row.params:,}",
        "% params": share(row.params, result.params_one_head),
        "MACs": short(row.macs),
        "FLOPs": short(row.flops),
        "% FLOPs": share(row.flops, result.flops),
        "MB moved": f"{row.bytes / 1e6:,.1f}",
        "FLOP/B": f"{row.intensity:,.1f}",
        "ms": f"{row.predicted_ms or 0:.3f}",
        "bound": row.bound,
    }


PUBLISHED = {
    True: "papers on YOLOs print {params:.1f} M and {conv:.1f} G: deploy form, FLOPs of convolutions alone (2 x MAC)",
    False: "papers on backbones print the parameters as built, and multiply-adds under the name FLOPs: {macs}",
}
"""Whether a model is a detector -> the figures that papers print."""


def _cost_notes(result: CostResult) -> tuple[str, ...]:
    """What papers print of this model, and what the prediction is."""
    detector = any(row.form == DECODED_FORM for row in result.forms)
    published = PUBLISHED[detector].format(
        params=result.params_deploy / 1e6, conv=result.conv_flops / 1e9, macs=short(result.macs)
    )
    made = [published]
    if result.predicted_ms is not None:
        made.append(f"ms: lower bound on {result.device} in {result.dtype}, deploy form")
    return tuple(made)


def _how_counted(result: CostResult) -> Text:
    """What each total counts."""
    kinds = [f"{kind} {short(getattr(result, kind))}" for kind in OTHER_KINDS if getattr(result, kind)]
    made = [
        f"params {result.params:,} as built, {result.params_one_head:,} with one head, "
        f"{result.params_deploy:,} in deploy form; convolutions alone: {result.conv_flops / 1e9:.4g} GFLOPs (2 x MAC)",
        f"FLOPs: 2 x MAC {short(2 * result.macs)}" + "".join(f" + {kind}" for kind in kinds),
        f"{result.dtype}: peak of live activations {result.peak_activation_bytes / 1e6:,.1f} MB, at {result.peak_at}; "
        "MB moved: read and written; FLOP/B: FLOPs per byte moved",
    ]
    if result.predicted_ms is not None:
        made += [
            "ms: for each operation the longer time of compute and memory traffic; " + FUSED[bool(result.fused)],
            f"memory limits operations below {result.ridge:,.1f} FLOP/B; source of the device's figures: "
            f"{result.device_source}",
        ]
    return Text((*made, result.convention))


def uncounted_lines(rows: Sequence[UncountedRow]) -> list[str]:
    """Lines on uncounted operations, with an upper bound."""
    return [
        f"not counted: {row.name} x {row.calls}, at most {short(row.macs_at_most)} MACs unless it iterates"
        for row in rows
    ]


def coverage_lines(result: CostResult) -> list[str]:
    """Lines on uncounted operations and the number of counted ones; empty if all are counted."""
    if not result.uncounted_ops:
        return []
    kinds = ", ".join(f"{n} {kind}" for kind, n in result.coverage.items())
    return [*uncounted_lines(result.uncounted_ops), f"operations: {kinds}"]


def forms_table(result: CostResult) -> Table:
    """Costs of a model by form, from training to deploy."""
    rows = tuple(_form_row(row) for row in result.forms)
    notes = (
        "training: all heads, raw logits; one head: the head for inference, raw logits; decoded: boxes and scores; "
        "deploy: batch norms folded, branches merged",
        f"{result.dtype}; live at once: peak of live activations for one image",
    )
    columns = ("form", "params", "MACs", "FLOPs", "conv FLOPs", "MB moved", "MB live at once")
    return Table(
        f"{result.model} at {size_words(result.imgsz)}", columns, rows, frozenset({"form"}), notes, ("MB moved",)
    )


def _form_row(row: FormRow) -> tuple[str, ...]:
    return (
        row.form, f"{row.params:,}", short(row.macs), short(row.flops), short(row.conv_flops),
        f"{row.bytes / 1e6:,.1f}", f"{row.peak_activation_bytes / 1e6:,.1f}",
    )  # fmt: skip
