"""Comparisons of costs: with published figures, of a scaled model, of two models, of the forms of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from effscope.config import DiffConfig, LayerCostConfig, ScaleConfig, ZooConfig
from effscope.config.image_size import ImageSize, size_words
from effscope.errors import counted
from effscope.results.base import Origin, Result
from effscope.results.showing import number, percent, with_prefix


@dataclass(frozen=True)
class ZooRow:
    """A model and its published figures. If effscope cannot build it yet, its counts are None and `note` says why.

    `published_params_m` and `published_flops_g` are in 1e6 and 1e9. For backbones, papers call multiply-adds FLOPs.
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


@dataclass(frozen=True, repr=False)
class ZooResult(Result):
    """Models and their published figures.

    Attributes:
        size: the input size in words.
        source: where the published figures come from.
        compares: the two counts of a row that correspond to the published parameters and FLOPs.
    """

    title: str
    size: str
    source: str
    compares: tuple[str, str]
    models: tuple[ZooRow, ...]
    origin: Origin[ZooConfig]

    KIND: ClassVar[str] = "zoo"
    TABLE: ClassVar[str] = "models"
    SHOWN: ClassVar = ("model", "params", "macs", "conv_flops", "published_params_m", "published_flops_g", "ap", "note")

    def lines(self) -> tuple[str, ...]:
        """How many models, and the source of the published figures."""
        return (
            f"{counted(len(self.models), 'model')}: {self.title}",
            f"{self.size}; published: {self.source}",
        )


@dataclass(frozen=True)
class ScaleRow:
    """A model scaled by one exponent; `ratio` = its FLOPs / FLOPs of the base, `law` = ratio by the factors."""

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


@dataclass(frozen=True, repr=False)
class ScaleResult(Result):
    """Compound scaling of a model from images of `imgsz` px; `law` = depth * width^2 * resolution^2 of one step."""

    model: str
    imgsz: int
    law: float
    rows: tuple[ScaleRow, ...]
    origin: Origin[ScaleConfig]

    KIND: ClassVar[str] = "scale"
    TABLE: ClassVar[str] = "rows"
    SHOWN: ClassVar = ("phi", "depth", "width", "imgsz", "params", "macs", "flops", "ratio", "law")

    def lines(self) -> tuple[str, ...]:
        """The model, and what one step multiplies."""
        last = self.rows[-1]
        return (
            f"{self.model} scaled from images of {self.imgsz} px; law: FLOPs x {number(self.law)} a step",
            f"phi {last.phi}: {last.params:,} parameters, {with_prefix(last.flops)} FLOPs, "
            f"{number(last.ratio)} x the base, {number(last.law)} by the law",
        )


@dataclass(frozen=True)
class DiffRow:
    """Cost of one stage (or of the head, or between stages) in two models; None if a model has no such part."""

    part: str
    params_a: int | None
    params_b: int | None
    macs_a: int | None
    macs_b: int | None
    flops_a: int | None
    flops_b: int | None


@dataclass(frozen=True, repr=False)
class DiffResult(Result):
    """Costs of two models per stage; `total` holds params (one head), macs and flops of both, and b / a - 1."""

    a: str
    b: str
    imgsz: ImageSize
    rows: tuple[DiffRow, ...]
    total: dict[str, dict[str, float]]
    origin: Origin[DiffConfig]

    KIND: ClassVar[str] = "diff"
    TABLE: ClassVar[str] = "rows"
    SHOWN: ClassVar = ("part", "params_a", "params_b", "macs_a", "macs_b", "flops_a", "flops_b")

    def lines(self) -> tuple[str, ...]:
        """Both totals, and their difference in percent."""
        words = {"params": "parameters", "macs": "MACs", "flops": "FLOPs"}
        totals = []
        for name, total in self.total.items():
            both = f"{with_prefix(total['a'])} -> {with_prefix(total['b'])}"
            totals.append(f"{words.get(name, name)} {both} ({percent(total['change'])})")
        return f"a {self.a}, b {self.b}, at {size_words(self.imgsz)}", ", ".join(totals)


@dataclass(frozen=True)
class Alternative:
    """One form of a layer.

    Attributes:
        ratio: MACs of the standard form / MACs of this form.
        formula_params, formula_macs: in channels and h (side of the output); empty unless requested.
        activation_bytes: bytes that its operations write, in float32.
        bytes: bytes read and written, with weights, in float32.
        intensity: FLOPs per byte moved.
        source: paper of the form.
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


FORMULAS = ("formula_params", "formula_macs")


@dataclass(frozen=True, repr=False)
class LayerCostResult(Result):
    """A layer and the forms that can replace it; `scope` says what the numbers include."""

    layer: str
    c_in: int
    c_out: int
    stride: int
    size: int
    alternatives: tuple[Alternative, ...]
    origin: Origin[LayerCostConfig]
    scope: str = ""

    KIND: ClassVar[str] = "layer_cost"
    TABLE: ClassVar[str] = "alternatives"
    SHOWN: ClassVar = ("name", "params", "macs", "flops", "ratio", "bytes", "intensity")

    def lines(self) -> tuple[str, ...]:
        """The layer, its cost, and the cheapest form."""
        first, least = self.alternatives[0], min(self.alternatives, key=lambda form: form.macs)
        return (
            f"{self.layer} stride {self.stride}, {self.c_in} -> {self.c_out} channels, input {self.size} x {self.size}",
            f"{first.name}: {first.params:,} parameters, {with_prefix(first.macs)} MACs; "
            f"fewest MACs: {least.name}, {number(least.ratio)} x fewer",
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per form, without empty formulas."""
        return [{name: v for name, v in row.items() if v or name not in FORMULAS} for row in super().to_rows()]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without empty formulas."""
        return super().to_dict() | {"alternatives": tuple(self.to_rows())}
