"""Times of models, part by part: measured, and predicted by a roofline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from effscope.config import LatencyConfig
from effscope.config.image_size import ImageSize, size_words
from effscope.errors import counted
from effscope.results.base import Origin, Result
from effscope.results.showing import listed, number


@dataclass(frozen=True)
class DeviceRow:
    """A device: peaks in FLOP/s by dtype (None if no figure is published), bandwidth in byte/s."""

    name: str
    float32: float | None
    float16: float | None
    int8: float | None
    bandwidth: float
    source: str


@dataclass(frozen=True, repr=False)
class DevicesResult(Result):
    """The devices that effscope predicts times for."""

    rows: tuple[DeviceRow, ...]
    origin: Origin[None]

    KIND: ClassVar[str] = "devices"
    TABLE: ClassVar[str] = "rows"
    SHOWN: ClassVar = ("name", "float32", "float16", "int8", "bandwidth", "source")

    def lines(self) -> tuple[str, ...]:
        """How many devices, and the units of their figures."""
        return f"{counted(len(self.rows), 'device')}; peaks in FLOP/s, bandwidth in byte/s", listed(
            [row.name for row in self.rows], 5
        )


@dataclass(frozen=True)
class Latency:
    """Time of one image at inference, in ms: medians of turns with other models, and their interquartile ranges.

    Attributes:
        ms, iqr_ms: with one thread on a CPU; on a GPU, as it is.
        all_ms, all_iqr_ms: with all threads of the search; None on a GPU.
    """

    ms: float
    iqr_ms: float
    all_ms: float | None = None
    all_iqr_ms: float | None = None


@dataclass(frozen=True)
class LatencyRow:
    """Time of one part of a model.

    Attributes:
        kind: "whole" (the forward pass), "part" of it, "post" (post-processing), "total" (both together).
        median_ms, iqr_ms, least_ms: over the rounds; half of all rounds lie within the interquartile range.
        predicted_ms: time by the roofline; None without a prediction.
        bound: what limits most of the predicted time: "compute" or "memory"; empty without a prediction.
        flops, bytes: inputs of the prediction; bytes read and written.
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


@dataclass(frozen=True, repr=False)
class LatencyResult(Result):
    """Measured and predicted times of models, one image at a time.

    Attributes:
        imgsz: side of the image in px.
        device, threads, dtype, runtime, rounds: settings of the measurement; `threads` is None on a GPU.
        predicted_for, predicted_dtype: device and dtype of the prediction.
        peak, bandwidth, ridge, source: figures of that device: FLOP/s, byte/s, their ratio, and where they come from.
        fused: whether the prediction computes activations and sums together with the operation before them.
        parts_over_whole: model -> sum of its parts / its forward pass, medians.
    """

    imgsz: ImageSize
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
    origin: Origin[LatencyConfig]
    parts_over_whole: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    KIND: ClassVar[str] = "latency"
    TABLE: ClassVar[str] = "rows"
    SHOWN: ClassVar = ("model", "part", "kind", "median_ms", "iqr_ms", "predicted_ms", "bound")

    def lines(self) -> tuple[str, ...]:
        """Median time of the forward pass of every model, and how it was measured."""
        whole = [f"{row.model} {number(row.median_ms)} ms" for row in self.rows if row.kind == "whole"]
        threads = "" if self.threads is None else f", {counted(self.threads, 'thread')}"
        return (
            f"{listed(whole, 4)}: forward pass of one image, {size_words(self.imgsz)}, median of "
            f"{counted(self.rounds, 'round')}",
            f"{self.runtime} {self.dtype} on {self.device}{threads}",
        )

    def of(self, model: str, part: str) -> LatencyRow:
        """The row of one part of a model. Raises KeyError if there is none."""
        for row in self.rows:
            if (row.model, row.part) == (model, part):
                return row
        raise KeyError(f"{model}: no part '{part}'")
