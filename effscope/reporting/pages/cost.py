"""What a model costs: by layer, stage, primitive and form."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.config import size_words
from effscope.reporting.page import Page, Rows, Section, Table, share, short, warning
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
    return (Page(first.title, first.sections, first.name, result, "cost.json"), *others)


def page(result: CostResult, by: str = "layer") -> Page:
    """The page of one view; `by` is a key of `COST_VIEWS`."""
    name, rows = f"cost_by_{by}", [plain(row) for row in getattr(result, COST_VIEWS[by])]
    table = forms_table(result) if by == "form" else cost_table(result, by)
    parts = (warning(coverage_lines(result)), table, Rows(name, rows))
    return Page(f"Cost of {result.model}", (Section("", tuple(p for p in parts if p is not None)),), name)


def cost_table(result: CostResult, by: str = "layer") -> Table:
    """Cost by layer, stage or primitive, with the totals below."""
    timed = result.predicted_ms is not None
    rows = [_cost_row(row, result, timed) for row in getattr(result, COST_VIEWS[by])]
    total: tuple[str, ...] = (
        "total", "", f"{result.params_one_head:,}", "100.0", short(result.macs), short(result.flops), "100.0",
        f"{result.bytes / 1e6:,.1f}", f"{result.flops / result.bytes:,.1f}" if result.bytes else "-",
    )  # fmt: skip
    if timed:
        total = (*total, f"{result.predicted_ms:.3f}", result.bound)
    columns = (by, "block", "params", "%", "MACs", "FLOPs", "% ", "MB moved", "FLOP/B")
    return Table(
        f"{result.model} at {size_words(result.imgsz)}",
        (*columns, *(("ms", "bound") if timed else ())),
        (*rows, total),
        frozenset({by, "block", "bound"}),
        _cost_notes(result),
        narrow=("FLOP/B", "bound", "%", "% "),
    )


def _cost_row(row: CostRow, result: CostResult, timed: bool) -> tuple[str, ...]:
    return (
        row.name + (f" (stage {row.stage})" if row.stage and not row.name.startswith("stage") else ""),
        row.block,
        f"{row.params:,}",
        share(row.params, result.params_one_head),
        short(row.macs),
        short(row.flops),
        share(row.flops, result.flops),
        f"{row.bytes / 1e6:,.1f}",
        f"{row.intensity:,.1f}",
        *((f"{row.predicted_ms or 0:.3f}", row.bound) if timed else ()),
    )


PUBLISHED = {
    True: "papers on YOLOs publish the last two: {params:.1f} M and the GFLOPs of convolutions",
    False: "papers on backbones publish params as built, and multiply-adds under the name FLOPs: {macs}",
}
"""Whether a model is a detector -> the figures that papers print."""


def _cost_notes(result: CostResult) -> tuple[str, ...]:
    kinds = [f"{kind} {short(getattr(result, kind))}" for kind in OTHER_KINDS if getattr(result, kind)]
    detector = any(row.form == DECODED_FORM for row in result.forms)
    published = PUBLISHED[detector].format(params=result.params_deploy / 1e6, macs=short(result.macs))
    made = [
        f"params {result.params:,} as built, {result.params_one_head:,} with one head, "
        f"{result.params_deploy:,} in deploy form; convolutions alone: {result.conv_flops / 1e9:.4g} GFLOPs (2 x MAC)",
        published,
        f"FLOPs: 2 x MAC {short(2 * result.macs)}" + "".join(f" + {kind}" for kind in kinds),
        f"{result.dtype}: peak of live activations {result.peak_activation_bytes / 1e6:,.1f} MB, at {result.peak_at}; "
        "FLOP/B: FLOPs per byte moved",
    ]
    if result.predicted_ms is not None:
        made += [
            f"ms: lower bound on {result.device} in {result.dtype}, deploy form: for each operation the longer time "
            f"of compute and memory traffic; {FUSED[bool(result.fused)]}",
            f"memory limits operations below {result.ridge:,.1f} FLOP/B; source of the device's figures: "
            f"{result.device_source}",
        ]
    return (*made, *result.notes, result.convention)


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
        *result.notes,
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
