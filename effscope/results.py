"""What engines produce and reports read: frozen results that carry their origin. No torch, no pandas at import."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from effscope.errors import EffscopeError
from effscope.files import write_text

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
TRAIN_RESULT = "train.json"
PACKAGES = ("effscope", "torch", "torchvision", "numpy")


def version(package: str) -> str:
    """Installed version of a package without importing it; "none" if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class Origin:
    """Where a result comes from: enough to make it again."""

    command: str
    config: dict[str, Any] = field(default_factory=dict)
    layout: str = ""
    data: str = ""
    seeds: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    format_version: int = FORMAT_VERSION


def origin(
    config: dict[str, Any] | None = None, layout: str = "", data: str = "", seeds: tuple[int, ...] = ()
) -> Origin:
    """The origin of a result made now, by this process."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Origin(shlex.join(words), config or {}, layout, data, seeds, versions, machine)


@dataclass(frozen=True)
class Result:
    """Base of all results. `TABLE` names the field that holds the rows of `to_frame`."""

    TABLE: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the JSON keys of the command contract, and `origin`."""
        return asdict(self)

    def to_frame(self) -> pd.DataFrame:
        """The result's main table."""
        import pandas as pd  # noqa: PLC0415 - slow import, only when asked for

        return pd.DataFrame(self.to_dict()[self.TABLE])

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, whole or not at all."""
        write_text(Path(path), self.to_json() + "\n")
        return Path(path)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a trip through JSON. Raises EffscopeError if keys are missing."""
        names = {f.name for f in fields(cls)}
        try:
            given = {k: cls._row(k, v) for k, v in data.items() if k in names}
            return cls(**given)
        except (TypeError, AttributeError, KeyError, ValueError) as e:
            raise EffscopeError(f"this is not a {cls.__name__}: {e}") from None

    @classmethod
    def _row(cls, name: str, value: Any) -> Any:
        if name == "origin":
            return Origin(**{**value, "seeds": tuple(value["seeds"])})
        row = cls.ROWS.get(name)
        if row is not None and issubclass(row, Result):
            return tuple(row.from_dict(r) for r in value)
        if row is not None:
            return tuple(row(**{k: tuple(v) if isinstance(v, list) else v for k, v in r.items()}) for r in value)
        return tuple(value) if isinstance(value, list) else value

    ROWS: ClassVar[dict[str, type]] = {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises EffscopeError for a file that is missing or something else."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as e:
            raise EffscopeError(f"cannot read {path}: {e}") from None


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
class Alternative:
    """One form of a layer. `ratio` = MACs of the standard form / its own."""

    name: str
    params: int
    macs: int
    flops: int
    ratio: float
    formula_params: str = ""
    formula_macs: str = ""


@dataclass(frozen=True)
class LayerCostResult(Result):
    """A layer against its cheaper forms, convolutions only."""

    layer: str
    c_in: int
    c_out: int
    stride: int
    size: int
    alternatives: tuple[Alternative, ...]
    origin: Origin

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


@dataclass(frozen=True)
class StageRank:
    """Rank of one stage. `rank` and what follows from it are None where a rank means nothing; `note` says why."""

    stage: int
    layer: str
    shape: tuple[int, ...]
    c_out: int
    rank: int | None
    ratio: float | None
    null_ratio: float | None
    effective_rank: float | None
    stable_rank: float | None
    tie: tuple[int, ...]
    threshold_tie: bool
    note: str = ""


@dataclass(frozen=True)
class RankResult(Result):
    """Ranks of a model's stages in ascending order of ratio, equal ratios by stage number."""

    model: str
    source: str
    definition: dict[str, Any]
    stages: tuple[StageRank, ...]
    order: tuple[int, ...]
    origin: Origin

    TABLE: ClassVar[str] = "stages"
    ROWS: ClassVar[dict[str, type]] = {"stages": StageRank}


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
class EvalResult(Result):
    """COCO AP of a detector on a data set, fractions 0-1; None where no object of that size exists."""

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

    def to_frame(self) -> pd.DataFrame:
        """One row per class."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame({"class": list(self.per_class), "ap": list(self.per_class.values())})


@dataclass(frozen=True)
class TrainResult(EvalResult):
    """A training and the AP it ended with."""

    images_per_s: float
    epochs: int
    peak_memory_mb: float
    seconds: float
    history: tuple[dict[str, float], ...]
    transfer: str
    files: dict[str, str]


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
