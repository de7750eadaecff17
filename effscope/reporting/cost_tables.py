"""What models and layers cost as tables of text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from effscope import results
from effscope.costing.laws import OTHER_KINDS
from effscope.reporting.tables import Table, share, short

if TYPE_CHECKING:
    from effscope.results import (
        CostResult,
        CostRow,
        DiffResult,
        FormRow,
        LayerCostResult,
        ScaleResult,
        TensorsResult,
        UncountedRow,
    )

COST_VIEWS = {"layer": "layers", "stage": "stages", "op": "ops", "form": "forms"}
"""What `cost --by` takes -> the field of the result that holds the rows."""


def tensors_table(result: TensorsResult) -> Table:
    """Parameters by part, of weights whose architecture is not known."""
    rows = tuple((row.name, row.block, f"{row.params:,}", share(row.params, result.params)) for row in result.layers)
    total = ("total", "", f"{result.params:,}", "100.0")
    notes = (*(f"not counted: {what}" for what in result.uncounted), *result.notes)
    return Table(result.model, ("part", "block", "params", "%"), (*rows, total), frozenset({"part", "block"}), notes)


def cost_table(result: CostResult | TensorsResult, by: str = "layer") -> Table:
    """Cost by layer, stage, primitive or form, with the totals below."""
    if isinstance(result, results.TensorsResult):
        return tensors_table(result)
    if by == "form":
        return forms_table(result)
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
        f"{result.model} at {result.imgsz} px",
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
    True: "published for YOLOs are the last two: {params:.1f} M and the GFLOPs of convolutions",
    False: "published for backbones are params as built and multiply-adds, called FLOPs: {macs}",
}
"""Of a detector, or not -> which figures papers print."""


def _cost_notes(result: CostResult) -> tuple[str, ...]:
    kinds = [f"{kind} {short(getattr(result, kind))}" for kind in OTHER_KINDS if getattr(result, kind)]
    detector = any(row.form == results.DECODED_FORM for row in result.forms)
    published = PUBLISHED[detector].format(params=result.params_deploy / 1e6, macs=short(result.macs))
    made = [
        f"params {result.params:,} as built, {result.params_one_head:,} with one head, "
        f"{result.params_deploy:,} in deploy form; convolutions alone: {result.conv_flops / 1e9:.4g} GFLOPs (2 x MAC)",
        published,
        f"FLOPs: 2 x MAC {short(2 * result.macs)}" + "".join(f" + {kind}" for kind in kinds),
        f"{result.dtype}: at most {result.peak_activation_bytes / 1e6:,.1f} MB of activations live at once, "
        f"at {result.peak_at}; FLOP/B: FLOPs per byte moved",
    ]
    if result.predicted_ms is not None:
        from effscope.reporting.latency_tables import FUSED  # noqa: PLC0415

        made += [
            f"ms: least time on {result.device} in {result.dtype}, deploy form: for each operation the longer of "
            f"computing and moving its bytes; {FUSED[bool(result.fused)]}",
            f"memory limits operations below {result.ridge:,.1f} FLOP/B; source of the device's figures: "
            f"{result.device_source}",
        ]
    return (*made, *_coverage_notes(result), *result.notes, result.convention)


def uncounted_notes(rows: Sequence[UncountedRow]) -> list[str]:
    """What is not counted, and how much it could be at most."""
    return [
        f"not counted: {row.name} x {row.calls}, at most {short(row.macs_at_most)} MACs unless it iterates"
        for row in rows
    ]


def _coverage_notes(result: CostResult) -> list[str]:
    if not result.uncounted_ops:
        return []
    kinds = ", ".join(f"{n} {kind}" for kind, n in result.coverage.items())
    return [*uncounted_notes(result.uncounted_ops), f"operations: {kinds}"]


def forms_table(result: CostResult) -> Table:
    """A model from training to the device."""
    rows = tuple(_form_row(row) for row in result.forms)
    notes = (
        "training: every head, raw logits; one head: the one that inference uses, raw logits; decoded: with boxes and "
        "scores; deploy: batch norms folded, branches merged",
        f"{result.dtype}; live at once: activations while one image runs through",
        *_coverage_notes(result),
        *result.notes,
    )
    columns = ("form", "params", "MACs", "FLOPs", "conv FLOPs", "MB moved", "MB live at once")
    return Table(f"{result.model} at {result.imgsz} px", columns, rows, frozenset({"form"}), notes, ("MB moved",))


def _form_row(row: FormRow) -> tuple[str, ...]:
    return (
        row.form, f"{row.params:,}", short(row.macs), short(row.flops), short(row.conv_flops),
        f"{row.bytes / 1e6:,.1f}", f"{row.peak_activation_bytes / 1e6:,.1f}",
    )  # fmt: skip


POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _pretty(formula: str) -> str:
    return re.sub(r"\*\*(\d+)", lambda power: power.group(1).translate(POWERS), formula).replace("*", " ")


def layer_cost_table(result: LayerCostResult) -> Table:
    """One layer against the forms that could stand in its place."""
    rows = tuple(
        (
            row.name,
            f"{row.params:,}",
            short(row.macs),
            f"{1 / row.ratio:.3f}" if row.ratio else "-",
            f"{row.ratio:.2f} x" if row.ratio else "-",
            f"{row.activation_bytes / 1e6:.1f}",
            f"{row.intensity:.1f}",
        )
        for row in result.alternatives
    )
    notes = [
        result.scope,
        "MB: written activations, float32; FLOP/B: FLOPs per byte read and written, low is memory-bound",
    ]
    if any(row.formula_params for row in result.alternatives):
        notes.append(
            "formulas, c or c1 and c2 the channels in and out, h the side of the output, of a side the stride divides:"
        )
        notes += [
            f"  {row.name}: params {_pretty(row.formula_params)}; MACs {_pretty(row.formula_macs)}"
            for row in result.alternatives
        ]
    channels = f"{result.c_in} -> {result.c_out}" if result.c_out != result.c_in else f"{result.c_in} channels"
    return Table(
        f"{result.layer} stride {result.stride}, {channels}, input {result.size} x {result.size}",
        ("form", "params", "MACs", "of standard", "cheaper by", "MB", "FLOP/B"),
        rows,
        frozenset({"form"}),
        tuple(notes),
        ("of standard", "MB"),
    )


def scale_table(result: ScaleResult) -> Table:
    """A model grown step by step, with what the factors promise beside what it costs."""
    rows = tuple(
        (
            str(row.phi), f"{row.depth:.2f}", f"{row.width:.2f}", f"{row.imgsz}", short(row.params), short(row.flops),
            f"{row.ratio:.2f} x", f"{row.law:.2f} x",
        )
        for row in result.rows
    )  # fmt: skip
    notes = (
        f"law: depth * width^2 * resolution^2 = {result.law:.2f} a step (arXiv 1905.11946); ratio: FLOPs over the base",
        "they differ where repeats, channels and sides (multiples of 32) are rounded, and where a part does not scale",
    )
    columns = ("phi", "depth", "width", "px", "params", "FLOPs", "ratio", "law")
    return Table(f"{result.model}: compound scaling from {result.imgsz} px", columns, rows, frozenset(), notes)


def diff_table(result: DiffResult) -> Table:
    """Two models stage by stage; change of the second against the first."""
    rows = [
        (
            row.part,
            *(_pair(row.params_a, row.params_b)),
            *(_pair(row.flops_a, row.flops_b)),
        )
        for row in result.rows
    ]
    totals = result.total
    whole = (
        "total",
        *_pair(*(int(totals["params"][k]) for k in "ab")),
        *_pair(*(int(totals["flops"][k]) for k in "ab")),
    )
    columns = ("part", "params A", "params B", "change", "FLOPs A", "FLOPs B", "change ")
    title = f"A = {result.a}, B = {result.b}, at {result.imgsz} px"
    notes = ("params of the one-head view; FLOPs as `effscope cost` counts them; change: B against A",)
    return Table(title, columns, (*rows, whole), frozenset({"part"}), notes)


def _pair(a: int | None, b: int | None) -> tuple[str, str, str]:
    shown = ("-" if n is None else short(n) for n in (a, b))
    change = f"{100 * (b / a - 1):+.1f} %" if a and b is not None else ""
    return (*shown, change)  # type: ignore[return-value]
