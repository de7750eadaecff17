"""Results of an evaluation and of a training: AP of a detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from effscope.config import EvalConfig, TrainConfig
from effscope.errors import counted
from effscope.progress import duration
from effscope.results.base import Origin, Result
from effscope.results.codec import plain
from effscope.results.latency import Latency
from effscope.results.showing import number

CURVE_RECALLS = tuple(n / 100 for n in range(101))
"""Recalls of the precisions of a `Curve`."""

CURVE_SCORES = CURVE_RECALLS
"""Smallest scores that count, of the F1 values of a `Curve`."""


@dataclass(frozen=True)
class ErrorKind:
    """Errors of one kind, as TIDE sorts them (arXiv 2008.08115).

    Attributes:
        kind: classification, localisation, both, duplicate, background or missed.
        count: detections with this error; for "missed", ground-truth boxes without any matching detection.
        ap50, ap: AP at IoU .5, and over .50-.95, without errors of this kind.
        d_ap50, d_ap: `ap50` and `ap` minus the AP with all errors.
        at_cut: the count among the detections above the score cut of the evaluation; None if it was not counted.
    """

    kind: str
    count: int
    ap50: float
    ap: float
    d_ap50: float
    d_ap: float
    at_cut: int | None = None


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class with ground-truth boxes, fractions 0-1.

    Attributes:
        name: class name.
        boxes: number of ground-truth boxes.
        ap, ap50: over IoU .50-.95, at .50.
        precision, recall, f1: at IoU .50 and the score cut of the evaluation. Without a detection above the cut the
            precision is 1, and 0 if the class has no detection at all, as in Ultralytics' `val`.
    """

    name: str
    boxes: int
    ap: float
    ap50: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Curve:
    """Curves of one class at IoU .50, fractions 0-1 with four digits.

    Attributes:
        name: class name.
        precision: the largest precision with at least each recall of `CURVE_RECALLS`; the mean is AP50.
        f1: F1 of the detections with at least each score of `CURVE_SCORES`.
    """

    name: str
    precision: tuple[float, ...]
    f1: tuple[float, ...]


@dataclass(frozen=True)
class Confusion:
    """Classes of the ground-truth boxes against classes of the detections.

    Attributes:
        classes: class names.
        counts: a row per true class, a column per detected class, both in the order of `classes` and then the
            background: the last column counts missed boxes, the last row detections without a box.
        score: smallest score of a counted detection, 0-1.
        iou: smallest IoU of a pair, 0-1.
    """

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    score: float
    iou: float

    def pairs(self) -> tuple[tuple[str, str, int], ...]:
        """(true class, detected class, count) of every confusion of two classes, the most frequent first."""
        n = len(self.classes)
        found = [
            (self.classes[i], self.classes[j], self.counts[i][j])
            for i in range(n) for j in range(n) if i != j and self.counts[i][j]
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda pair: -pair[2]))

    @property
    def missed(self) -> int:
        """Ground-truth boxes without a detection."""
        return sum(row[-1] for row in self.counts[:-1])

    @property
    def false(self) -> int:
        """Detections without a ground-truth box."""
        return sum(self.counts[-1][:-1])


@dataclass(frozen=True, repr=False)
class Scores(Result):
    """Fields of evaluations and trainings: COCO AP of a detector on a data set, fractions 0-1.

    Attributes:
        ap, ap50, ap75: over IoU .50-.95, at .50, at .75.
        ap_s, ap_m, ap_l: for small, medium and large ground-truth boxes; None if there are none.
        per_class: class name -> AP.
        images, boxes: how many were scored.
        errors: errors by kind, if requested.
        ap_se: standard error of AP over images (delete-group jackknife).
        classes: scores of each class with ground-truth boxes; empty in results of older versions.
        score_cut: smallest score that counts for precision, recall and F1: the one with the largest mean F1 over the
            classes, smoothed, as in Ultralytics' `val`.
        precision, recall, f1: means over the classes at IoU .50 and `score_cut`.
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
    classes: tuple[ClassScore, ...] = field(default=(), kw_only=True)
    score_cut: float | None = field(default=None, kw_only=True)
    precision: float | None = field(default=None, kw_only=True)
    recall: float | None = field(default=None, kw_only=True)
    f1: float | None = field(default=None, kw_only=True)

    SHOWN: ClassVar = ("class", "ap", "ap50", "precision", "recall", "f1", "boxes")

    def lines(self) -> tuple[str, ...]:
        """AP over .50-.95, at .50 and at .75, on how many images, and precision and recall if they are known."""
        error = f" (standard error {self.ap_se:.3f})" if self.ap_se is not None else ""
        at_cut = ""
        if self.score_cut is not None:
            at_cut = f"; precision {self.precision:.3f}, recall {self.recall:.3f} from score {self.score_cut:.3f}"
        return (
            f"{self.model}: AP {self.ap:.3f}{error}, AP50 {self.ap50:.3f}, AP75 {self.ap75:.3f}, fractions 0-1",
            f"{counted(self.images, 'image')}, {counted(self.boxes, 'box', 'boxes')}, "
            f"{counted(len(self.per_class), 'class', 'classes')}{at_cut}",
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """The row "all" with the means, then one row per class; of older results only the classes with their AP."""
        if not self.classes:
            return [{"class": name, "ap": ap} for name, ap in self.per_class.items()]
        rows = [(plain(one) | {"class": one.name}) for one in self.classes]
        mean = {name: getattr(self, name) for name in self.SHOWN if name != "class"}
        return [{name: row[name] for name in self.SHOWN} for row in ({"class": "all"} | mean, *rows)]


@dataclass(frozen=True, repr=False)
class EvalResult(Scores):
    """COCO AP of a detector on a data set.

    Attributes:
        files: files of the evaluation.
        data, split: the data set as the user named it, and its split; empty in results of older versions.
        curves: precision and F1 curves of each class with ground-truth boxes.
        confusion: the confusion matrix at `score_cut`; None in results of older versions.
        latency: time of one image in the graph that onnxruntime runs; None if torch ran the detector.
        runtime: what ran it, if it was onnxruntime, with its version.
        threads: threads of `latency.all_ms`.
    """

    origin: Origin[EvalConfig]
    files: dict[str, str] = field(default_factory=dict, kw_only=True)
    latency: Latency | None = field(default=None, kw_only=True)
    runtime: str = field(default="", kw_only=True)
    threads: int = field(default=1, kw_only=True)
    data: str = field(default="", kw_only=True)
    split: str = field(default="", kw_only=True)
    curves: tuple[Curve, ...] = field(default=(), kw_only=True)
    confusion: Confusion | None = field(default=None, kw_only=True)

    KIND: ClassVar[str] = "eval"

    def lines(self) -> tuple[str, ...]:
        """AP, and the time of one image if it was measured."""
        first, second = super().lines()
        return first, second + (f"; {number(self.latency.ms)} ms an image in {self.runtime}" if self.latency else "")


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


@dataclass(frozen=True, repr=False)
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

    def lines(self) -> tuple[str, ...]:
        """AP, length and speed of the training, and where its weights are."""
        spent = f"{counted(self.epochs, 'epoch')} in {duration(self.seconds)}, {self.images_per_s:.0f} images/s"
        weights = f"; weights: {self.files['weights']}" if "weights" in self.files else ""
        return (*super().lines(), spent + weights)
