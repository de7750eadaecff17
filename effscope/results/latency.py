"""How long models take: measured part by part, beside what a roofline predicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class DeviceRow:
    """A device: peaks in FLOP/s by dtype (None where none is published), bandwidth in byte/s."""

    name: str
    float32: float | None
    float16: float | None
    int8: float | None
    bandwidth: float
    source: str


@dataclass(frozen=True)
class DevicesResult(Result):
    """Devices that times can be predicted for."""

    rows: tuple[DeviceRow, ...]
    origin: Origin

    TABLE: ClassVar[str] = "rows"
    ROWS: ClassVar[dict[str, type]] = {"rows": DeviceRow}


@dataclass(frozen=True)
class LatencyRow:
    """Time of one part of a model.

    Attributes:
        model, part: whose.
        kind: "whole" (the forward pass), "part" of it, "post" (post-processing), "total" (both together).
        median_ms, iqr_ms, least_ms: over the rounds; half of all rounds lie within the interquartile range.
        predicted_ms: of the roofline, None where no law says it.
        bound: what bounds most of that: "compute", "memory", or nothing where nothing is predicted.
        flops, bytes: what the prediction stands on; bytes as the prediction counts them, read and written.
    """

    model: str
    part: str
    kind: str
    median_ms: float
    iqr_ms: float
    least_ms: float
    predicted_ms: float | None = None
    bound: str = ""
    flops: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class LatencyResult(Result):
    """Measured and predicted times of models, one image at a time.

    Attributes:
        imgsz: side of the image in px.
        device, threads, dtype, runtime, rounds: what was measured, and how; no threads on a GPU.
        predicted_for: the device of the prediction; `peak` FLOP/s and `bandwidth` byte/s are its own at
            `predicted_dtype`, `ridge` FLOPs per byte is their ratio, `source` where they come from.
        fused: whether the prediction computes activations and sums where their operand is made.
        parts_over_whole: model -> sum of its parts over its forward pass, medians.
    """

    imgsz: int
    device: str
    threads: int | None
    dtype: str
    runtime: str
    rounds: int
    predicted_for: str
    predicted_dtype: str
    peak: float
    bandwidth: float
    ridge: float
    source: str
    fused: bool
    rows: tuple[LatencyRow, ...]
    origin: Origin
    parts_over_whole: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    TABLE: ClassVar[str] = "rows"
    ROWS: ClassVar[dict[str, type]] = {"rows": LatencyRow}

    def of(self, model: str, part: str) -> LatencyRow:
        """The row of a part. Raises KeyError if there is none."""
        for row in self.rows:
            if (row.model, row.part) == (model, part):
                return row
        raise KeyError(f"{model}: no part '{part}'")
