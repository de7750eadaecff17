"""Compound scaling step by step: predicted and actual costs."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Table, short, single
from effscope.results import ScaleResult


def pages(result: ScaleResult) -> tuple[Page, ...]:
    """One page."""
    return (single("scale", result, scale_table(result), Rows("scale", result.to_rows())),)


def scale_table(result: ScaleResult) -> Table:
    """A row per exponent."""
    rows = tuple(
        (
            str(row.phi), f"{row.depth:.2f}", f"{row.width:.2f}", f"{row.imgsz}", short(row.params), short(row.flops),
            f"{row.ratio:.2f} x", f"{row.law:.2f} x",
        )
        for row in result.rows
    )  # fmt: skip
    notes = (
        f"law: depth * width^2 * resolution^2 = {result.law:.2f} per step (arXiv 1905.11946); ratio: to FLOPs of base",
        "ratio and law differ: repeats, channels and sides (multiples of 32) are rounded, and some parts do not scale",
    )
    columns = ("phi", "depth", "width", "px", "params", "FLOPs", "ratio", "law")
    return Table(f"{result.model}: compound scaling from {result.imgsz} px", columns, rows, frozenset(), notes)
