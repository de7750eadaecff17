"""Published figures of detectors, to compare with effscope's counts. COCO val2017 at 640 px.

Source: YOLOv10 paper (arXiv 2405.14458), Table 1. Parameters and FLOPs are of the deploy form (batch norms folded,
branches merged, one head), FLOPs are 2 * MAC of convolutions, in units of 1e9.
"""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Parameters in millions, FLOPs in 1e9, AP in points (times 100)."""

    params_m: float
    flops_g: float
    ap: float


SOURCE = "YOLOv10 paper (arXiv 2405.14458), Table 1"

PUBLISHED: dict[str, Published] = {
    "yolov8n": Published(3.2, 8.7, 37.3),
    "yolov10n": Published(2.3, 6.7, 38.5),
    "gold-yolo-s": Published(21.5, 46.0, 45.4),
    "yolov8s": Published(11.2, 28.6, 44.9),
    "yolov9s": Published(7.1, 26.4, 46.7),
    "rt-detr-r18": Published(20.0, 60.0, 46.5),
    "yolov10s": Published(7.2, 21.6, 46.3),
    "yolov6-3.0-m": Published(34.9, 85.8, 49.1),
    "gold-yolo-m": Published(41.3, 87.5, 49.8),
    "yolo-ms": Published(22.2, 80.2, 51.0),
    "yolov8m": Published(25.9, 78.9, 50.6),
    "yolov9m": Published(20.0, 76.3, 51.1),
    "rt-detr-r34": Published(31.0, 92.0, 48.9),
    "rt-detr-r50m": Published(36.0, 100.0, 51.3),
    "yolov10m": Published(15.4, 59.1, 51.1),
    "yolov6-3.0-l": Published(59.6, 150.7, 51.8),
    "gold-yolo-l": Published(75.1, 151.7, 51.8),
    "yolov9c": Published(25.3, 102.1, 52.5),
    "yolov10b": Published(19.1, 92.0, 52.5),
    "yolov8l": Published(43.7, 165.2, 52.9),
    "rt-detr-r50": Published(42.0, 136.0, 53.1),
    "yolov10l": Published(24.4, 120.3, 53.2),
    "yolov8x": Published(68.2, 257.8, 53.9),
    "rt-detr-r101": Published(76.0, 259.0, 54.3),
    "yolov10x": Published(29.5, 160.4, 54.4),
}
"""Model -> figures. effscope has no layout for the names that are not in the zoo."""

BACKBONES_SOURCE = 'published figures, rounded (docs/background.md, "Blocks")'

BACKBONES: dict[str, tuple[str, float, float | None]] = {
    "resnet18": ("torchvision:resnet18", 11.7, 1.8),
    "resnet34": ("torchvision:resnet34", 21.8, 3.6),
    "resnet50": ("torchvision:resnet50", 25.6, 4.1),
    "mobilenetv2": ("torchvision:mobilenet_v2", 3.4, 0.3),
    "efficientnet_b0": ("torchvision:efficientnet_b0", 5.3, 0.39),
    "ghostnet": ("timm:ghostnet_100", 5.0, None),
    "shufflenetv2": ("torchvision:shufflenet_v2_x1_0", 2.3, None),
    "densenet121": ("torchvision:densenet121", 8.0, 2.9),
    "convnext_tiny": ("torchvision:convnext_tiny", 28.0, 4.5),
}
"""Backbone -> model to import, published parameters in millions, multiply-adds in 1e9 at 224 px."""
