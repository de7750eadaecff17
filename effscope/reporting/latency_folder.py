"""What `effscope latency` leaves in a folder."""

from __future__ import annotations

from pathlib import Path

from effscope.reporting.folder import write_table
from effscope.reporting.latency_plots import plot_latency
from effscope.reporting.latency_tables import latency_table
from effscope.results import LatencyResult


def write_latency(folder: Path, result: LatencyResult) -> dict[str, str]:
    """latency.json, latency.csv, latency.md and a picture of measured beside predicted."""
    files = write_table(folder, "latency", result, latency_table(result))
    return files | {"png": str(plot_latency(result, folder / "latency.png"))}
