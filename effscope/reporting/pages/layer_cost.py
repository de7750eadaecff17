"""A layer and the forms that can replace it."""

from __future__ import annotations

import re

from effscope.reporting.page import Page, Rows, Table, short, single
from effscope.results import LayerCostResult

POWERS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def pages(result: LayerCostResult) -> tuple[Page, ...]:
    """One page."""
    return (single("cost", result, layer_cost_table(result), Rows("cost", result.to_rows())),)


def layer_cost_table(result: LayerCostResult) -> Table:
    """The cost of every form, and its ratio to the standard form."""
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
            "formulas: c (or c1 and c2) are the input and output channels, h is the side of the output; "
            "the stride divides the side of the input"
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


def _pretty(formula: str) -> str:
    return re.sub(r"\*\*(\d+)", lambda power: power.group(1).translate(POWERS), formula).replace("*", " ")
