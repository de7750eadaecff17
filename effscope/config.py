"""Frozen configurations: the only home of defaults. Flags, API arguments and saved runs all come from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

BUILTIN_SHAPES = "builtin:shapes"


@dataclass(frozen=True)
class Recipe:
    """How a detector is trained. Learning rates are per optimiser step, angles and gains as in YOLOv8.

    Sources: YOLOv8 recipe as described in the YOLOv10 paper (arXiv 2405.14458, appendix) and REFERENCE facts;
    see docs/architecture.md, "Training recipe".
    """

    optimizer: str = "adamw"  # adamw | sgd
    lr: float = 2e-3  # peak learning rate
    final_lr_ratio: float = 0.01  # last learning rate / peak
    schedule: str = "cosine"  # cosine | linear
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 3.0
    grad_clip: float = 10.0
    nominal_batch: int = 16  # gradients are accumulated up to this many images
    ema_decay: float = 0.9999
    ema_ramp_steps: int = 2000  # decay(t) = ema_decay * (1 - exp(-t / ramp))
    box_gain: float = 7.5
    cls_gain: float = 0.5
    dfl_gain: float = 1.5
    assign_topk: int = 10
    assign_alpha: float = 0.5
    assign_beta: float = 6.0
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    translate: float = 0.1
    scale: float = 0.5
    flip_lr: float = 0.5
    mosaic: float = 1.0
    close_mosaic_epochs: int = 10


@dataclass(frozen=True)
class TrainConfig:
    """One training. `imgsz`, `epochs` and `batch` have no default here: they depend on the data, see `PROXY`."""

    data: str = BUILTIN_SHAPES
    imgsz: int = 256
    epochs: int = 60
    batch: int = 16
    seed: int = 0
    device: str = "auto"  # auto | cpu | cuda | cuda:N
    limit_train: int | None = None
    limit_val: int | None = None
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


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dict of a frozen config, ready for JSON."""
    return asdict(config)


__all__ = ["BUILTIN_SHAPES", "EvalConfig", "Recipe", "TrainConfig", "replace", "to_dict"]
