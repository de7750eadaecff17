"""The devices that effscope predicts times for."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Table, single
from effscope.results import DeviceRow, DevicesResult


def pages(result: DevicesResult) -> tuple[Page, ...]:
    """One page."""
    return (single("devices", result, devices_table(result), Rows("devices", result.to_rows())),)


def devices_table(result: DevicesResult) -> Table:
    """Published devices: peaks in TFLOP/s, bandwidth in GB/s."""
    return Table(
        "devices: peaks in TFLOP/s (int8: TOP/s), dense",
        ("device", "float32", "float16", "int8", "GB/s", "ridge FLOP/B", "source"),
        tuple(_device(row) for row in result.rows),
        frozenset({"device", "source"}),
        ("ridge: FLOPs per byte above which compute takes longer than memory traffic, float16 or float32",),
        ("source",),
    )


def _device(row: DeviceRow) -> tuple[str, ...]:
    peaks = (row.float32, row.float16, row.int8)
    ridge = (row.float16 or row.float32 or 0.0) / row.bandwidth
    told = (f"{peak / 1e12:,.4g}" if peak else "-" for peak in peaks)
    return (row.name, *told, f"{row.bandwidth / 1e9:,.1f}", f"{ridge:.1f}", row.source)
