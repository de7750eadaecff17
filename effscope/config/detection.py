"""Settings of detection and scoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.config.checks import Checked, at_least, image_side, one_of


@dataclass(frozen=True)
class EvalConfig(Checked):
    """How detections are made and scored.

    `conf` and `iou` are fractions. `imgsz` is the long side of the image in px. `convention` "ultralytics" scores
    like `val` of that package.
    """

    imgsz: int = 640
    batch: int = 16
    conf: float = 0.001
    iou: float = 0.7
    max_det: int = 300
    device: str = "auto"
    convention: str = "coco"
    runtime: str = "torch"  # or onnx: onnxruntime, on the CPU

    CHECKS: ClassVar = {
        "imgsz": image_side, "batch": at_least(1), "max_det": at_least(1), "convention": one_of("coco", "ultralytics"),
        "runtime": one_of("torch", "onnx"),
    }  # fmt: skip
