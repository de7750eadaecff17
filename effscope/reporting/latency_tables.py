"""Times as tables of text."""

from __future__ import annotations

from effscope.reporting.tables import Table
from effscope.results import DeviceRow, DevicesResult, LatencyResult, LatencyRow

RUNTIMES = {"torch": "torch, eager", "onnx": "onnxruntime"}
TOTAL = "Latency with "
"""How the part of a total begins; what it counts in follows."""

FUSED = {
    True: "activations, norms and sums are fused into the operation before them",
    False: "nothing is fused, as in eager torch",
}


def latency_table(result: LatencyResult) -> Table:
    """Measured beside predicted, model by model and part by part."""
    here = result.predicted_for.startswith(result.device)
    rows = tuple(_row(row, here) for row in result.rows)
    title = f"one image of {result.imgsz} px on {measured_on(result)}: median of {result.rounds} rounds by turns"
    notes = (
        f"predicted: roofline of {result.predicted_for}, {result.predicted_dtype}: {result.peak / 1e9:,.0f} GFLOP/s, "
        f"{result.bandwidth / 1e9:,.1f} GB/s, ridge at {result.ridge:.1f} FLOPs/byte ({result.source})",
        f"predicted: {FUSED[result.fused]}; bound: what most of the predicted time is spent on",
        "IQR: half of all rounds lie within that range; Latency_f: without post-processing",
        *(
            f"{model}: its parts, timed inside the pass, sum to {100 * share:.0f} % of it"
            for model, share in result.parts_over_whole.items()
        ),
        *result.notes,
    )
    columns = ("model", "part", "median ms", "IQR ms", "predicted ms", "measured / predicted", "bound")
    return Table(title, columns, rows, frozenset({"model", "part", "bound"}), notes, ("bound",))


def measured_on(result: LatencyResult) -> str:
    """Device, threads, dtype and runtime in words."""
    threads = "" if result.threads is None else f", {result.threads} thread{'s' * (result.threads != 1)}"
    return f"{result.device}{threads}, {result.dtype}, {RUNTIMES[result.runtime]}"


def _row(row: LatencyRow, here: bool) -> tuple[str, ...]:
    """What is predicted for another device is no measure of this one."""
    predicted, ratio = "", ""
    if row.predicted_ms is not None:
        predicted = f"{row.predicted_ms:.3f}"
        ratio = f"{row.median_ms / row.predicted_ms:.1f} x" if row.predicted_ms and here else ""
    return (row.model, row.part, f"{row.median_ms:.3f}", f"{row.iqr_ms:.3f}", predicted, ratio, row.bound)


def devices_table(result: DevicesResult) -> Table:
    """Published devices: peaks in TFLOP/s, bandwidth in GB/s."""
    columns = ("device", "float32", "float16", "int8", "GB/s", "ridge FLOP/B", "source")
    notes = ("ridge: FLOPs per byte where computing takes over, float16 or float32",)
    rows = tuple(_device(row) for row in result.rows)
    return Table(
        "devices: peaks in TFLOP/s (int8: TOP/s), dense",
        columns,
        rows,
        frozenset({"device", "source"}),
        notes,
        ("source",),
    )


def _device(row: DeviceRow) -> tuple[str, ...]:
    peaks = (row.float32, row.float16, row.int8)
    ridge = (row.float16 or row.float32 or 0.0) / row.bandwidth
    told = (f"{peak / 1e12:,.4g}" if peak else "-" for peak in peaks)
    return (row.name, *told, f"{row.bandwidth / 1e9:,.1f}", f"{ridge:.1f}", row.source)
