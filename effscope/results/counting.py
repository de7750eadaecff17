"""Costs of models; for weights of an unknown architecture only the parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from effscope.config import CostConfig
from effscope.config.image_size import ImageSize, size_words
from effscope.results.base import Origin, Result
from effscope.results.showing import listed, number, with_prefix


@dataclass(frozen=True)
class CostRow:
    """Cost of one layer, stage or primitive.

    Attributes:
        name, block, shape: `shape` is the output shape.
        bias ... elementwise: operations other than multiply-adds, see `OTHER_KINDS`.
        bytes, bytes_read, bytes_written: in the dtype of the result.
        intensity: FLOPs per byte moved.
        predicted_ms: lower bound of the time in deploy form; None without a device.
        bound: what limits that time, "compute" or "memory".
    """

    name: str
    block: str
    shape: tuple[int, ...]
    params: int
    macs: int
    flops: int
    conv_flops: int
    bytes: int
    stage: int | None = None
    bias: int = 0
    norm: int = 0
    act: int = 0
    pool: int = 0
    resample: int = 0
    softmax: int = 0
    elementwise: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    intensity: float = 0.0
    predicted_ms: float | None = None
    bound: str = ""


DECODED_FORM, PLAIN_FORM, DEPLOY_FORM = "one head, decoded", "inference", "deploy"
"""Names of forms: that of a detector's totals, that of other models' totals, and that of the device."""

OTHER_KINDS = ("bias", "norm", "act", "pool", "resample", "softmax", "elementwise")
"""Fields that count operations other than multiply-adds: flops = 2 * macs + their sum."""


@dataclass(frozen=True)
class FormRow:
    """Cost of a model in one form, e.g. "training" or "deploy"."""

    form: str
    params: int
    macs: int
    flops: int
    conv_flops: int
    bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class UncountedRow:
    """An operation without a cost law: its calls, its parameters, and an upper bound on its multiply-adds."""

    name: str
    calls: int
    params: int
    macs_at_most: int


@dataclass(frozen=True, repr=False)
class CostResult(Result):
    """Cost of a model; docs/cost.md says what each total counts.

    Attributes:
        bias, norm, act, pool, resample, softmax, elementwise: see `OTHER_KINDS`.
        peak_activation_bytes: largest size of the activations that are live at the same time; `peak_at` names the node.
        forms: costs by form, from training to deploy.
        coverage: number of operations "counted", "free" (they move or re-label values) and "uncounted".
        uncounted_ops: uncounted operations with an upper bound.
        device, device_source: the device of the prediction, and the source of its figures.
        predicted_ms, bound: lower bound of the time on that device, and what limits most of it.
        fused: whether the prediction computes activations and sums together with the operation before them.
        ridge: FLOPs per byte above which compute takes longer than memory traffic.
    """

    model: str
    imgsz: ImageSize
    convention: str
    params: int
    params_one_head: int
    params_deploy: int
    macs: int
    flops: int
    conv_flops: int
    bytes: int
    uncounted: tuple[str, ...]
    layers: tuple[CostRow, ...]
    stages: tuple[CostRow, ...]
    ops: tuple[CostRow, ...]
    origin: Origin[CostConfig]
    notes: tuple[str, ...] = ()
    dtype: str = "float32"
    bias: int = 0
    norm: int = 0
    act: int = 0
    pool: int = 0
    resample: int = 0
    softmax: int = 0
    elementwise: int = 0
    peak_activation_bytes: int = 0
    peak_at: str = ""
    forms: tuple[FormRow, ...] = ()
    coverage: dict[str, int] = field(default_factory=dict)
    uncounted_ops: tuple[UncountedRow, ...] = ()
    device: str = ""
    device_source: str = ""
    fused: bool | None = None
    predicted_ms: float | None = None
    bound: str = ""
    ridge: float | None = None

    KIND: ClassVar[str] = "cost"
    TABLE: ClassVar[str] = "layers"
    SHOWN: ClassVar = ("name", "block", "stage", "shape", "params", "macs", "flops", "bytes")

    def lines(self) -> tuple[str, ...]:
        """The totals as the model is and in deploy form; what is not counted; the predicted time."""
        where = [f"at least {number(self.predicted_ms)} ms on {self.device}"] if self.predicted_ms is not None else []
        where += [f"not counted: {listed(self.uncounted, 3)}"] if self.uncounted else []
        return (
            f"{self.model} at {size_words(self.imgsz)}: {self.params:,} parameters, {with_prefix(self.macs)} MACs, "
            f"{with_prefix(self.flops)} FLOPs",
            f"deploy form: {self.params_deploy:,} parameters; convolutions alone: {with_prefix(self.conv_flops)} FLOPs",
            *(["; ".join(where)] if where else []),
        )


@dataclass(frozen=True)
class TensorRow:
    """Parameters of one part of a tensor file."""

    name: str
    block: str
    params: int


@dataclass(frozen=True, repr=False)
class TensorsResult(Result):
    """Parameters of weights of an unknown architecture. The other totals of a cost are None."""

    model: str
    params: int
    uncounted: tuple[str, ...]
    layers: tuple[TensorRow, ...]
    origin: Origin[None]
    notes: tuple[str, ...] = ()
    params_one_head: None = None
    params_deploy: None = None
    macs: None = None
    flops: None = None
    conv_flops: None = None
    bytes: None = None

    KIND: ClassVar[str] = "tensors"
    TABLE: ClassVar[str] = "layers"
    SHOWN: ClassVar = ("name", "block", "params")

    def lines(self) -> tuple[str, ...]:
        """The parameters."""
        return f"{self.model}: {self.params:,} parameters", "unknown architecture: no MACs and FLOPs can be counted"
