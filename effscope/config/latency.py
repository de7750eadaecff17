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
    threads: int | None = None
    dtype: str = "float32"
    runtime: str = "torch"
    rounds: int = 15
    objects: tuple[int, ...] = (0, 10, 100, 300)
    typical: int = 10
    conf: float = 0.25
    scoring_conf: float = 0.001
    predict: str | None = None
    predict_dtype: str | None = None
    fresh: bool = False
    seed: int = 0

    CHECKS: ClassVar = {
        "imgsz": image_size, "threads": at_least(1), "runtime": one_of("torch", "onnx"), "rounds": at_least(1),
        "seed": seed_number,
    }  # fmt: skip

    ABOUT: ClassVar = {
        "imgsz": "size of the image in px",
        "device": "auto, cpu, cuda or cuda:N",
        "threads": "number of CPU threads; default: torch's own number",
        "dtype": "float32, float16 or bfloat16",
        "runtime": "torch, or onnx: onnxruntime on the CPU",
        "rounds": "number of rounds; in each every model runs once",
        "objects": "numbers of objects in an image for which post-processing is timed",
        "typical": "number of objects in an image for the totals",
        "conf": "lowest score of a box in use, 0-1: only the best class of a box counts",
        "scoring_conf": "lowest score of a box for AP, 0-1: every class of a box counts",
        "predict": "device of the prediction, a name in `devices()`; default: this machine, measured",
        "predict_dtype": "dtype of the prediction; default: that of `dtype`",
        "fresh": "measure peak and bandwidth of this machine again",
        "seed": "seed of the random images and boxes",
    }


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
