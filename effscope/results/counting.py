"""What models cost, or their parameters alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class CostRow:
    """Cost of one layer, stage or primitive: counts in integers, bytes at the dtype the result names."""

    name: str
    block: str
    shape: tuple[int, ...]
    params: int
    macs: int
    flops: int
    conv_flops: int
    bytes: int
    stage: int | None = None


@dataclass(frozen=True)
class CostResult(Result):
    """Cost of a model: see docs/architecture.md for what each total counts."""

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

    TABLE: ClassVar[str] = "layers"
    ROWS: ClassVar[dict[str, type]] = {"layers": CostRow, "stages": CostRow, "ops": CostRow}


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
