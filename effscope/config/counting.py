"""Settings of `effscope cost`, `diff`, `zoo` and `export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from effscope.config.checks import Checked, at_least, image_side
from effscope.config.image_size import ImageSize, image_size
from effscope.errors import EffscopeError, unknown


@dataclass(frozen=True)
class CostConfig(Checked):
    """`effscope cost MODEL`: size of the input, dtype of values and weights."""

    imgsz: ImageSize = 640
    dtype: str = "float32"

    CHECKS: ClassVar = {"imgsz": image_size}


@dataclass(frozen=True)
class CountersConfig(Checked):
    """`effscope cost MODEL --as`: size of the input."""

    imgsz: ImageSize = 640

    CHECKS: ClassVar = {"imgsz": image_size}


@dataclass(frozen=True)
class DiffConfig(Checked):
    """`effscope diff A B`: size of the input."""

    imgsz: ImageSize = 640

    CHECKS: ClassVar = {"imgsz": image_size}


@dataclass(frozen=True)
class ZooConfig:
    """`effscope zoo`: part of a model name, or classification backbones instead."""

    pattern: str = ""
    backbones: bool = False


EXPORT_FORMATS = ("yaml", "pt", "safetensors", "onnx", "int8")
"""What `effscope export` writes."""


def _formats(name: str, value: Any) -> None:
    if not value:
        raise EffscopeError(f"`{name}` names no format: choose from {', '.join(EXPORT_FORMATS)}")
    for word in value:
        if word not in EXPORT_FORMATS:
            raise unknown("format", word, EXPORT_FORMATS)


@dataclass(frozen=True)
class ExportConfig(Checked):
    """`effscope export`: formats, and the side of the image in px that the exported model takes."""

    to: tuple[str, ...] = ("safetensors",)
    imgsz: int = 640

    CHECKS: ClassVar = {"imgsz": image_side, "to": _formats}


@dataclass(frozen=True)
class LayerCostConfig(Checked):
    """`effscope cost --layer`: one layer against cheaper forms.

    `cout` 0 means 2 * cin at stride 2, else cin. `size` is the side of the input feature map.
    """

    layer: str = "conv3x3"
    cin: int = 256
    cout: int = 0
    stride: int = 2
    size: int = 80
    symbolic: bool = False

    CHECKS: ClassVar = {"cin": at_least(1), "stride": at_least(1), "size": at_least(1)}


@dataclass(frozen=True)
class ScaleConfig(Checked):
    """`effscope cost --scale`: compound scaling, each factor to the power of phi. Source: arXiv 1905.11946."""

    scale: str = "yolov8n"
    phi: str = "0..3"
    depth: float = 1.2
    width: float = 1.1
    resolution: float = 1.15
    imgsz: int = 640

    CHECKS: ClassVar = {"imgsz": image_side}
