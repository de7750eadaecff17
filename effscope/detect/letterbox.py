"""Fit an image into the network's input: scaled, centred, padded with grey."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PAD_VALUE = 114
"""Grey of the padding, 0-255, as in YOLOv8."""

_UNIT = 2048
"""1 in fixed point."""


@dataclass(frozen=True)
class Letterbox:
    """Position of an image in the network's input. All sizes are (width, height) in px.

    Attributes:
        source: size of the image.
        resized: size of the scaled image; it is rounded, so the gains of the two axes differ slightly.
        pad: padding in px left of and above the scaled image.
        out: size of the network's input.
    """

    source: tuple[int, int]
    resized: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]

    def forward(self, boxes: Tensor) -> Tensor:
        """Boxes xyxy (..., 4) in px of the image -> in px of the input."""
        return boxes * self._gain(boxes) + self._shift(boxes)

    def back(self, boxes: Tensor, clip: bool = True) -> Tensor:
        """Boxes xyxy (..., 4) in px of the input -> in px of the image, clipped to the image unless `clip` is False."""
        original = (boxes - self._shift(boxes)) / self._gain(boxes)
        if not clip:
            return original
        edge = torch.tensor(self.source * 2, dtype=original.dtype, device=original.device)
        return original.clamp(min=0).minimum(edge)

    def _gain(self, boxes: Tensor) -> Tensor:
        gains = [after / before for after, before in zip(self.resized, self.source, strict=True)]
        return torch.tensor(gains * 2, dtype=boxes.dtype, device=boxes.device)

    def _shift(self, boxes: Tensor) -> Tensor:
        return torch.tensor(self.pad * 2, dtype=boxes.dtype, device=boxes.device)


def letterbox(size: tuple[int, int], imgsz: int, stride: int | None = None, margin: float = 0.0) -> Letterbox:
    """The letterbox of an image.

    Args:
        size: (width, height) of the image in px.
        imgsz: long side of the scaled image in px.
        stride: each side is padded to the next multiple of it; None: pad to a square of side `imgsz`.
        margin: smallest padding of each side, in strides.
    """
    width, height = size
    gain = min(imgsz / height, imgsz / width)
    resized = (max(round(width * gain), 1), max(round(height * gain), 1))
    spare = (imgsz - resized[0], imgsz - resized[1])
    if stride is not None:
        wide, high = (math.ceil(side / stride + margin) * stride for side in resized)
        spare = (wide - resized[0], high - resized[1])
    pad = (max(round(spare[0] / 2 - 0.1), 0), max(round(spare[1] / 2 - 0.1), 0))
    return Letterbox(size, resized, pad, (resized[0] + spare[0], resized[1] + spare[1]))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize bilinearly without antialiasing, in the fixed-point arithmetic of OpenCV: equal to its INTER_LINEAR.

    YOLO-like detectors are trained and deployed on images resized by OpenCV. Exact rounding differs by up to one grey
    level, which changes scores by some thousandths.

    Args:
        image: uint8 (3, H, W).
        size: (width, height) wanted, in px.

    Returns:
        uint8 (3, height, width).
    """
    width, height = size
    if tuple(image.shape[1:]) == (height, width):
        return image
    left, right, far_x = _samples(image.shape[2], width)
    above, below, far_y = (part[:, None] for part in _samples(image.shape[1], height))
    upper = _between(image[:, above, left], image[:, above, right], far_x)  # (3, height, width)
    lower = _between(image[:, below, left], image[:, below, right], far_x)
    near = ((_UNIT - far_y) * (upper >> 4)) >> 16
    return ((near + ((far_y * (lower >> 4)) >> 16) + 2) >> 2).to(torch.uint8)


def _samples(length: int, wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """Along one axis: the two source px of each new px, int64, and the weight of the second * `_UNIT`, int32."""
    at = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (1 / (wanted / length)) - 0.5).float()
    first = at.floor()
    weight = ((at - first) * _UNIT).round().int()
    weight[(first < 0) | (first >= length - 1)] = 0
    first = first.long().clamp(0, length - 1)
    return first, (first + 1).clamp(max=length - 1), weight


def _between(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of uint8 px, int32: `_UNIT` times the grey level."""
    return first.int() * (_UNIT - weight) + second.int() * weight


def letterboxed(image: Tensor, box: Letterbox) -> Tensor:
    """The image, uint8 (3, H, W), scaled and padded: uint8 (3, height, width) of `box.out`."""
    (wide, high), (left, top), (out_wide, out_high) = box.resized, box.pad, box.out
    canvas = torch.full((3, out_high, out_wide), PAD_VALUE, dtype=torch.uint8, device=image.device)
    canvas[:, top : top + high, left : left + wide] = resize(image, box.resized)
    return canvas
