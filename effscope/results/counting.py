"""What models cost, or their parameters alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class CostRow:
    """Cost of one layer, stage or primitive: counts in integers, bytes at the dtype the result names, FLOPs per byte;
    time at best of the deploy form where a device was named, and what bounds it."""

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
"""Forms that are asked for by name: what totals are of in a detector, and in other models; what runs on the device."""


@dataclass(frozen=True)
class FormRow:
    """A model in one of the forms it takes from training to the device."""

    form: str
    params: int
    macs: int
    flops: int
    conv_flops: int
    bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class UncountedRow:
    """An operation that computes and has no law: its calls, the parameters it owns, at most so many multiply-adds."""

    name: str
    calls: int
    params: int
    macs_at_most: int


@dataclass(frozen=True)
class CostResult(Result):
    """Cost of a model: docs/cost.md says what each total counts.

    Attributes:
        bias, norm, act, pool, resample, softmax, elementwise: what is no multiply-add; flops = 2 * macs + their sum.
        peak_activation_bytes: of the values that live at once while the image runs through, `peak_at` the node.
        forms: the model from training to the device.
        coverage: operations "counted", "free" (moving or re-labelling values) and "uncounted".
        uncounted_ops: the uncounted ones with a bound.
        device, device_source, fused, predicted_ms, bound, ridge: time at best on a device that was named; `fused`:
            activations and sums are computed where their operand is made; `ridge`: the FLOPs per byte from which on it
            computes longer than it moves.
    """

    model: str
    imgsz: int
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
    origin: Origin
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

    TABLE: ClassVar[str] = "layers"
    ROWS: ClassVar[dict[str, type]] = {
        "layers": CostRow, "stages": CostRow, "ops": CostRow, "forms": FormRow, "uncounted_ops": UncountedRow,
    }  # fmt: skip


@dataclass(frozen=True)
class TensorRow:
    """Parameters of one part of a file of tensors."""

    name: str
    block: str
    params: int


@dataclass(frozen=True)
class TensorsResult(Result):
    """What can be counted of weights whose architecture is not known: parameters. The rest of a cost is None."""

    model: str
    params: int
    uncounted: tuple[str, ...]
    layers: tuple[TensorRow, ...]
    origin: Origin
    notes: tuple[str, ...] = ()
    params_one_head: None = None
    params_deploy: None = None
    macs: None = None
    flops: None = None
    conv_flops: None = None
    bytes: None = None

    TABLE: ClassVar[str] = "layers"
    ROWS: ClassVar[dict[str, type]] = {"layers": TensorRow}
