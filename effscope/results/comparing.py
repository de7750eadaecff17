"""Costs side by side: a model and its published figures, a model and itself scaled, two models, a layer's forms."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from effscope.results.base import Origin, Result


@dataclass(frozen=True)
class ZooRow:
    """A model beside its published figures; counts are None where it cannot be expressed yet, and `note` says why.

    `published_params_m` and `published_flops_g` are millions and 1e9; FLOPs of backbones are multiply-adds there.
    """

    model: str
    params: int | None = None
    params_one_head: int | None = None
    params_deploy: int | None = None
    macs: int | None = None
    flops: int | None = None
    conv_flops: int | None = None
    published_params_m: float | None = None
    published_flops_g: float | None = None
    ap: float | None = None
    note: str = ""


@dataclass(frozen=True)
class ZooResult(Result):
    """Models beside what was published of them; `size` says for which input, `source` whose figures, `compares` which
    two counts of a row stand beside the published parameters and FLOPs."""

    title: str
    size: str
    source: str
    compares: tuple[str, str]
    models: tuple[ZooRow, ...]
    origin: Origin

    TABLE: ClassVar[str] = "models"
    ROWS: ClassVar[dict[str, type]] = {"models": ZooRow}


@dataclass(frozen=True)
class ScaleRow:
    """A model scaled by one exponent; `ratio` = its FLOPs over the base's, `law` = what the factors promise."""

    phi: int
    depth: float
    width: float
    imgsz: int
    params: int
    macs: int
    flops: int
    conv_flops: int
    ratio: float
    law: float


@dataclass(frozen=True)
class ScaleResult(Result):
    """Compound scaling of a model from images of `imgsz` px; `law` = depth * width^2 * resolution^2 per step."""

    model: str
    imgsz: int
    law: float
    rows: tuple[ScaleRow, ...]
    origin: Origin

    TABLE: ClassVar[str] = "rows"
    ROWS: ClassVar[dict[str, type]] = {"rows": ScaleRow}


@dataclass(frozen=True)
class DiffRow:
    """What one stage (or the rest, or the head) costs in two models; None where one has no such part."""

    part: str
    params_a: int | None
    params_b: int | None
    macs_a: int | None
    macs_b: int | None
    flops_a: int | None
    flops_b: int | None


@dataclass(frozen=True)
class DiffResult(Result):
    """Two models' costs per stage; `total` holds params (one head), macs and flops of both and b / a - 1."""

    a: str
    b: str
    imgsz: int
    rows: tuple[DiffRow, ...]
    total: dict[str, dict[str, float]]
    origin: Origin

    TABLE: ClassVar[str] = "rows"
    ROWS: ClassVar[dict[str, type]] = {"rows": DiffRow}


@dataclass(frozen=True)
class Alternative:
    """One form of a layer.

    Attributes:
        ratio: MACs of the standard form / its own.
        formula_params, formula_macs: in channels and h, the side of the output, where they were asked for.
        activation_bytes: of what its operations write, float32.
        bytes: read and written, weights included, float32.
        intensity: FLOPs per byte moved.
        source: where the form comes from.
    """

    name: str
    params: int
    macs: int
    flops: int
    ratio: float
    formula_params: str = ""
    formula_macs: str = ""
    activation_bytes: int = 0
    bytes: int = 0
    intensity: float = 0.0
    source: str = ""


@dataclass(frozen=True)
class LayerCostResult(Result):
    """A layer against the forms that could stand in its place; `scope` says what the numbers hold."""

    layer: str
    c_in: int
    c_out: int
    stride: int
    size: int
    alternatives: tuple[Alternative, ...]
    origin: Origin
    scope: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; formulas only where they were asked for."""
        data = asdict(self)
        for row in data["alternatives"]:
            for name in ("formula_params", "formula_macs"):
                if not row[name]:
                    del row[name]
        return data

    TABLE: ClassVar[str] = "alternatives"
    ROWS: ClassVar[dict[str, type]] = {"alternatives": Alternative}
