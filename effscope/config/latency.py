"""Settings of `effscope latency`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypedDict

from effscope.config.checks import Checked, at_least, one_of, seed_number
from effscope.config.image_size import ImageSize, image_size


@dataclass(frozen=True)
class LatencyConfig(Checked):
    """`effscope latency`: one image at a time.

    The totals include the post-processing of an image with `typical` objects: COCO val2017 has 36,781 boxes in 5,000
    images, 7 per image. `predict` is a device of `costing/devices.csv`; None: this machine, measured.
    """

    imgsz: ImageSize = 640
    device: str = "auto"
    threads: int | None = None  # None: torch's default
    dtype: str = "float32"  # float32 | float16 | bfloat16
    runtime: str = "torch"
    rounds: int = 15
    objects: tuple[int, ...] = (0, 10, 100, 300)
    typical: int = 10
    conf: float = 0.25  # lowest score in use: only the best class of a box
    scoring_conf: float = 0.001  # lowest score for AP: every class of a box
    predict: str | None = None
    predict_dtype: str | None = None  # None: same as `dtype`
    fresh: bool = False  # measure the peak and the bandwidth of this machine again
    seed: int = 0

    CHECKS: ClassVar = {
        "imgsz": image_size, "threads": at_least(1), "runtime": one_of("torch", "onnx"), "rounds": at_least(1),
        "seed": seed_number,
    }  # fmt: skip


class LatencySettings(TypedDict, total=False):
    """Arguments of `effscope.latency` except the models and the image side; see `LatencyConfig`."""

    device: str
    threads: int | None
    dtype: str
    runtime: str
    rounds: int
    objects: tuple[int, ...]
    typical: int
    conf: float
    scoring_conf: float
    predict: str | None
    predict_dtype: str | None
    fresh: bool
    seed: int
