"""Measured and predicted times."""

from __future__ import annotations

from effscope.config import size_words
from effscope.reporting.page import Page, Rows, Table, single, warning
from effscope.reporting.pages.cost import FUSED
from effscope.reporting.plots.latency import latency_plot, measured_on
from effscope.results import LatencyResult, LatencyRow


def pages(result: LatencyResult) -> tuple[Page, ...]:
    """One page."""
    parts = (
        warning(result.notes), latency_table(result), latency_plot(result), Rows("latency", result.to_rows())
    )  # fmt: skip
    return (single("latency", result, *parts),)


def latency_table(result: LatencyResult) -> Table:
    """Measured and predicted times by model and part."""
    same_device = result.predicted_for.startswith(result.device)
    rows = tuple(_row(row, same_device) for row in result.rows)
    image, rounds = size_words(result.imgsz), f"median of {result.rounds} rounds, models in turn"
    title = f"one image of {image} on {measured_on(result)}: {rounds}"
    notes = (
        f"predicted: roofline of {result.predicted_for}, {result.predicted_dtype}: {result.peak / 1e9:,.0f} GFLOP/s, "
        f"{result.bandwidth / 1e9:,.1f} GB/s, ridge at {result.ridge:.1f} FLOPs/byte ({result.source})",
        f"predicted: {FUSED[result.fused]}; vs predicted: measured / predicted; bound: what limits most of the "
        "predicted time",
        "IQR: interquartile range over the rounds; Latency_f: without post-processing",
        *(
            f"{model}: the parts, timed inside the forward pass, sum to {100 * share:.0f} % of it"
            for model, share in result.parts_over_whole.items()
        ),
    )
    columns = ("model", "part", "median ms", "IQR ms", "predicted ms", "vs predicted", "bound")
    return Table(
        title, columns, rows, frozenset({"model", "part", "bound"}), notes, ("bound", "IQR ms", "vs predicted")
    )


def _row(row: LatencyRow, same_device: bool) -> tuple[str, ...]:
    """Cells of a row. Compares only when the prediction is for the measured device."""
    predicted, ratio = "", ""
    if row.predicted_ms is not None:
        predicted = f"{row.predicted_ms:.3f}"
        ratio = f"{row.median_ms / row.predicted_ms:.1f} x" if row.predicted_ms and same_device else ""
    return (row.model, row.part, f"{row.median_ms:.3f}", f"{row.iqr_ms:.3f}", predicted, ratio, row.bound)
