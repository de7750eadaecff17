"""Results of an evaluation and of a training: AP of a detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from effscope.config import EvalConfig, TrainConfig
from effscope.results.base import Origin, Result
from effscope.results.latency import Latency


@dataclass(frozen=True)
class ErrorKind:
    """Errors of one kind, as TIDE sorts them (arXiv 2008.08115).

    Attributes:
        kind: classification, localisation, both, duplicate, background or missed.
        count: detections with this error; for "missed", ground-truth boxes without any matching detection.
        ap50, ap: AP at IoU .5, and over .50-.95, without errors of this kind.
        d_ap50, d_ap: `ap50` and `ap` minus the AP with all errors.
    """

    kind: str
    count: int
    ap50: float
    ap: float
    d_ap50: float
    d_ap: float


@dataclass(frozen=True)
class Scores(Result):
    """Fields of evaluations and trainings: COCO AP of a detector on a data set, fractions 0-1.

    Attributes:
        ap, ap50, ap75: over IoU .50-.95, at .50, at .75.
        ap_s, ap_m, ap_l: for small, medium and large ground-truth boxes; None if there are none.
        per_class: class name -> AP.
        images, boxes: how many were scored.
        errors: errors by kind, if requested.
        ap_se: standard error of AP over images (delete-group jackknife).
    """

    model: str
    ap: float
    ap50: float
    ap75: float
    ap_s: float | None
    ap_m: float | None
    ap_l: float | None
    per_class: dict[str, float | None]
    images: int
    boxes: int
    errors: tuple[ErrorKind, ...] = field(default=(), kw_only=True)
    ap_se: float | None = field(default=None, kw_only=True)

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per class."""
        return [{"class": name, "ap": ap} for name, ap in self.per_class.items()]


@dataclass(frozen=True)
class EvalResult(Scores):
    """COCO AP of a detector on a data set.

    Attributes:
        files: files of the evaluation.
        latency: time of one image in the graph that onnxruntime runs; None if torch ran the detector.
        runtime: what ran it, if it was onnxruntime, with its version.
        threads: threads of `latency.all_ms`.
    """

    origin: Origin[EvalConfig]
    files: dict[str, str] = field(default_factory=dict, kw_only=True)
    latency: Latency | None = field(default=None, kw_only=True)
    runtime: str = field(default="", kw_only=True)
    threads: int = field(default=1, kw_only=True)

    KIND: ClassVar[str] = "eval"


@dataclass(frozen=True)
class LayerTransfer:
    """How much of one layer came from given weights.

    Attributes:
        layer: prefix in the state dict, e.g. "model.22".
        block: block type, e.g. "Detect".
        state: exact (all tensors were copied), partial (some were), fresh (none were).
        exact_tensors, exact_params: copied unchanged.
        reshaped: tensors of another shape, which start fresh.
        tensors, params: all of the layer, without the batch counters of batch norms.
    """

    layer: str
    block: str
    state: str
    exact_tensors: int
    reshaped: int
    tensors: int
    exact_params: int
    params: int


@dataclass(frozen=True)
class TrainResult(Scores):
    """A training and its final AP.

    Attributes:
        history: a row per epoch, with the columns that `training.train.Trained` describes.
        transfer: one line on what came from the starting weights; empty without weights.
        transfer_layers: the same, layer by layer.
        files: content of each file -> its path.
    """

    origin: Origin[TrainConfig]
    images_per_s: float
    epochs: int
    peak_memory_mb: float
    seconds: float
    history: tuple[dict[str, float], ...]
    transfer: str
    files: dict[str, str]
    transfer_layers: tuple[LayerTransfer, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    KIND: ClassVar[str] = "train"
