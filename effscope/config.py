"""Frozen configurations: the only home of defaults. Flags, API arguments and saved runs all come from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from effscope.errors import EffscopeError, unknown
from effscope.recipes import RECIPES, Recipe, read_recipe

BUILTIN_SHAPES = "builtin:shapes"


@dataclass(frozen=True)
class Proxy:
    """Size of a proxy training: side in px, epochs of the base, epochs of the short training, batch."""

    imgsz: int
    base_epochs: int
    epochs: int
    batch: int = 16


PROXIES = {"builtin": Proxy(imgsz=160, base_epochs=20, epochs=4), "data": Proxy(imgsz=256, base_epochs=60, epochs=10)}
"""Defaults of the training flags: for `builtin:shapes` a search ends within ten minutes on two cores."""


def proxy(data: str) -> Proxy:
    """The defaults that fit a data set."""
    return PROXIES["builtin" if data == BUILTIN_SHAPES else "data"]


@dataclass(frozen=True)
class TrainConfig:
    """One training: data, size, length, seed, machine, recipe. The commands' defaults are in `PROXIES`."""

    data: str = BUILTIN_SHAPES
    imgsz: int = 256
    epochs: int = 60
    batch: int = 16
    seed: int = 0
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    limit_train: int | None = None
    limit_val: int | None = None
    eval_every: int = 0  # epochs between evaluations; 0: only after the last
    freeze: int = 0  # the first so many layers keep the weights they have
    unfreeze_epochs: int = 0  # over which the frozen layers thaw, the deepest first; 0: they stay frozen
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class EvalConfig:
    """How detections are made and scored. `conf` and `iou` are fractions, `imgsz` is the long side in px."""

    imgsz: int = 640
    batch: int = 16
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    device: str = "auto"
    convention: str = "coco"  # coco | ultralytics: as its `val` scores


@dataclass(frozen=True)
class CostConfig:
    """`effscope cost MODEL`: side of the image in px, dtype of values and weights."""

    imgsz: int = 640
    dtype: str = "float32"


@dataclass(frozen=True)
class CountersConfig:
    """`effscope cost MODEL --as`: side of the image in px."""

    imgsz: int = 640


@dataclass(frozen=True)
class DiffConfig:
    """`effscope diff A B`: side of the image in px."""

    imgsz: int = 640


@dataclass(frozen=True)
class ZooConfig:
    """`effscope zoo`: a text that the names contain, or the classification backbones instead."""

    pattern: str = ""
    backbones: bool = False


@dataclass(frozen=True)
class ExportConfig:
    """`effscope export`: formats, and the side of the image in px that the exported model takes."""

    to: tuple[str, ...] = ("safetensors",)
    imgsz: int = 640


@dataclass(frozen=True)
class LayerCostConfig:
    """`effscope cost --layer`: one convolution. `cout` 0 means 2 * cin at stride 2, else cin; `size` = input side."""

    layer: str = "conv3x3"
    cin: int = 256
    cout: int = 0
    stride: int = 2
    size: int = 80
    symbolic: bool = False


@dataclass(frozen=True)
class LatencyConfig:
    """`effscope latency`: one image at a time.

    `typical` objects are in the picture whose post-processing counts in the totals: COCO val2017 has 36,781 boxes in
    5,000 pictures, 7 each. `predict` is a device of `costing/devices.csv`, or None for this machine, measured.
    """

    imgsz: int = 640
    device: str = "auto"
    threads: int | None = None  # None: as many as torch has
    dtype: str = "float32"  # float32 | float16 | bfloat16
    runtime: str = "torch"  # torch | onnx
    rounds: int = 15
    objects: tuple[int, ...] = (0, 10, 100, 300)
    typical: int = 10
    conf: float = 0.25  # lowest score for use: the best class of a box
    scoring_conf: float = 0.001  # lowest score for AP: every class of a box
    predict: str | None = None
    predict_dtype: str | None = None  # None: as `dtype`
    fresh: bool = False  # measure this machine's peak and bandwidth again
    seed: int = 0


@dataclass(frozen=True)
class ScaleConfig:
    """`effscope cost --scale`: compound scaling, each factor to the power of phi. Source: arXiv 1905.11946."""

    scale: str = "yolov8n"
    phi: str = "0..3"
    depth: float = 1.2
    width: float = 1.1
    resolution: float = 1.15
    imgsz: int = 640


@dataclass(frozen=True)
class RankConfig:
    """`effscope rank`: where the rank is taken and what counts as a singular value that matters."""

    at: str = "stage"  # stage | block | all
    threshold: float | str = 0.5  # fraction of the largest singular value, or energy:0.9, eps, mp
    fold_bn: bool = True
    centred: bool = True  # activations: about their mean


@dataclass(frozen=True)
class DistilConfig:
    """How a swapped stage is fitted to the one it replaces: training images seen, AdamW steps, one-cycle rates."""

    images: int = 256
    steps: int = 300
    batch: int = 16
    lr: float = 2e-3
    peak_lr: float = 4e-3
    max_bytes: int = 1 << 30  # of recorded inputs and outputs; fewer images are taken when it is reached


@dataclass(frozen=True)
class SearchConfig:
    """The main job. Training fields are as in `TrainConfig`.

    `base_epochs` train the base, half of them when it starts from weights of other classes; `epochs` each candidate.
    """

    base: str = "yolov8n"
    weights: str | None = None
    data: str = BUILTIN_SHAPES
    move: str = "cib"
    head: str = "light"  # light | keep
    rule: str = "margin"  # margin | paper
    margin: float = 0.01
    at: str = "stage"
    threshold: float | str = 0.5
    imgsz: int = 256
    base_epochs: int = 60
    epochs: int = 10
    batch: int = 16
    seed: int = 0
    device: str = "auto"
    limit_train: int | None = None
    limit_val: int | None = None
    learned_ap: float = 0.20  # a base below this judges nothing
    distil: DistilConfig = field(default_factory=DistilConfig)
    recipe: Recipe = field(default_factory=Recipe)
    proxy_recipe: Recipe = field(default_factory=lambda: RECIPES["quick"])


CHOICES = {
    "move": ("cib", "cib-lk"),
    "head": ("light", "keep"),
    "rule": ("margin", "paper"),
    "at": ("stage", "block", "all"),
    "runtime": ("torch", "onnx"),
}
"""Settings that are one of a few words."""

IMGSZ_MULTIPLE = 32
"""Largest stride of the detectors: maps of other image sizes do not fit together."""

AT_LEAST_ONE = (
    "imgsz", "base_epochs", "epochs", "batch", "limit_train", "limit_val", "limit", "cin", "stride", "size", "rounds",
    "threads",
)  # fmt: skip


AT_LEAST_ZERO = ("eval_every", "freeze", "unfreeze_epochs")
WHOLE = (*AT_LEAST_ONE, *AT_LEAST_ZERO, "seed")
SEED_BELOW = 2**63


def check(settings: dict[str, Any], *, detector: bool = True) -> None:
    """Raises EffscopeError for a number or a word that cannot be, naming the flag and the choices.

    Args:
        settings: name -> value.
        detector: image sides must fit a detector's strides.
    """
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        if name in WHOLE and value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise EffscopeError(f"{flag} is a whole number, got {value!r}")
        if name == "seed" and not -SEED_BELOW <= value < SEED_BELOW:
            raise EffscopeError(f"{flag} lies within 63 bits, got {value}")
        if name in AT_LEAST_ONE and value is not None and value < 1:
            raise EffscopeError(f"{flag} must be at least 1, got {value}")
        if detector and name == "imgsz" and value is not None and value % IMGSZ_MULTIPLE:
            raise EffscopeError(f"{flag} must be a multiple of {IMGSZ_MULTIPLE}, got {value}")
        if name in CHOICES and value not in CHOICES[name]:
            raise unknown(flag, value, CHOICES[name])
        if name in AT_LEAST_ZERO and value is not None and value < 0:
            raise EffscopeError(f"{flag} must not be negative, got {value}")
        if name == "margin" and not 0 <= value < 1:
            raise EffscopeError(f"{flag} is a fraction of AP, 0 to 1, got {value}")


CURVE_POINTS = 10
"""Evaluations during a training, unless told how often."""

T = TypeVar("T", TrainConfig, SearchConfig)


def settled(kind: type[T], settings: dict[str, Any]) -> T:
    """A training or search config from what the user set; None means not set, sizes come from `PROXIES`.

    Raises:
        EffscopeError: a setting that does not exist or cannot be.
    """
    names = [f.name for f in fields(kind)]
    for name in settings:
        if name not in names:
            raise unknown("setting", name, names)
    given = {name: value for name, value in settings.items() if value is not None}
    given |= {name: read_recipe(given[name]) for name in ("recipe", "proxy_recipe") if name in given}
    check(given)
    sizes = asdict(proxy(given.get("data", BUILTIN_SHAPES)))
    if kind is TrainConfig:
        sizes["epochs"] = sizes["base_epochs"]
        sizes["eval_every"] = max(given.get("epochs", sizes["epochs"]) // CURVE_POINTS, 1)
    return kind(**{name: value for name, value in sizes.items() if name in names} | given)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a frozen config, ready for JSON."""
    return asdict(config)
