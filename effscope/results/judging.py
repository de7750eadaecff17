"""What weights and detections are worth: ranks, AP, trainings, searches; and the files a model was handed on as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from effscope.results.base import Origin, Result

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExportResult(Result):
    """The files a model was written to, by format, for images of `imgsz` px."""

    model: str
    imgsz: int
    files: dict[str, str]
    notes: tuple[str, ...]
    origin: Origin

    def to_frame(self) -> pd.DataFrame:
        """One row per file."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame({"format": list(self.files), "file": list(self.files.values())})


@dataclass(frozen=True)
class ErrorKind:
    """Errors of one kind, in the manner of TIDE (arXiv 2008.08115).

    Attributes:
        kind: classification, localisation, both, duplicate, background or missed.
        count: detections of it; of "missed", true boxes that no detection, right or wrong, is of.
        ap50, ap: AP at IoU .5, and over .50-.95, without them.
        d_ap50, d_ap: what that is more than with them.
    """

    kind: str
    count: int
    ap50: float
    ap: float
    d_ap50: float
    d_ap: float


@dataclass(frozen=True)
class EvalResult(Result):
    """COCO AP of a detector on a data set, fractions 0-1; None where no object of that size exists. `errors` by kind,
    where they were asked for. `ap_se` is AP's standard error over pictures (delete-group jackknife)."""

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
    origin: Origin
    errors: tuple[ErrorKind, ...] = field(default=(), kw_only=True)
    ap_se: float | None = field(default=None, kw_only=True)

    ROWS: ClassVar[dict[str, type]] = {"errors": ErrorKind}

    def to_frame(self) -> pd.DataFrame:
        """One row per class."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame({"class": list(self.per_class), "ap": list(self.per_class.values())})


@dataclass(frozen=True)
class LayerTransfer:
    """What one layer took over from given weights.

    Attributes:
        layer: its name in the state dict, e.g. "model.22".
        block: what it is.
        tensors, params: how many it has, batch counters left out; `exact_tensors`, `exact_params` came over as they
            were, `reshaped` tensors had another shape and start fresh.
        state: exact (all came over), partial (some did), fresh (none did).
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
class TrainResult(EvalResult):
    """A training and the AP it ended with. `history` has a row per epoch, as `training.train.Trained` says; `transfer`
    is what the weights it started from gave, in a line and layer by layer."""

    images_per_s: float
    epochs: int
    peak_memory_mb: float
    seconds: float
    history: tuple[dict[str, float], ...]
    transfer: str
    files: dict[str, str]
    transfer_layers: tuple[LayerTransfer, ...] = field(default=(), kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    ROWS: ClassVar[dict[str, type]] = {**EvalResult.ROWS, "transfer_layers": LayerTransfer}


@dataclass(frozen=True)
class Trial:
    """One swapped stage. AP in fractions; `delta` = ap_mean - base_ap; `ci` None where the rule has no interval."""

    stage: int
    move: str
    params: int
    flops: int
    ap_start: float
    ap_mean: float
    ap_runs: tuple[float, ...]
    base_ap: float
    delta: float
    ci: tuple[float, float] | None
    verdict: str


@dataclass(frozen=True)
class SearchResult(Result):
    """The main job's answer.

    `saved` holds fractions of the base. `base_ap` is after the short training, like a trial's `ap_mean`;
    `base_ap_start` before it, like a trial's `ap_start`.
    """

    base: str
    base_ap: float
    base_ap_start: float
    base_params: int
    base_flops: int
    order: tuple[int, ...]
    trials: tuple[Trial, ...]
    accepted: tuple[int, ...]
    stop_reason: str
    saved: dict[str, float]
    files: dict[str, str]
    seconds: float
    notes: tuple[str, ...]
    origin: Origin

    TABLE: ClassVar[str] = "trials"
    ROWS: ClassVar[dict[str, type]] = {"trials": Trial}
