"""Fitting a picture into the network's input: scaled by one gain, centred, the rest filled with grey."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

PAD_VALUE = 114
"""Grey of the padding, 0-255, as in YOLOv8."""


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the network's input. All sizes are (width, height) in px.

    Attributes:
        source: size of the picture.
        gain: input px per picture px.
        resized: size of the scaled picture.
        pad: px left of and above the scaled picture.
        out: size of the network's input.
    """

    source: tuple[int, int]
    gain: float
    resized: tuple[int, int]
    pad: tuple[int, int]
    out: tuple[int, int]

    def forward(self, boxes: Tensor) -> Tensor:
        """Picture xyxy (..., 4) to input xyxy, in px."""
        return boxes * self.gain + self._shift(boxes)

    def back(self, boxes: Tensor, clip: bool = True) -> Tensor:
        """Input xyxy (..., 4) to picture xyxy, in px, cut at the picture's edges unless told not to."""
        original = (boxes - self._shift(boxes)) / self.gain
        if not clip:
            return original
        edge = torch.tensor(self.source * 2, dtype=original.dtype, device=original.device)
        return original.clamp(min=0).minimum(edge)

    def _shift(self, boxes: Tensor) -> Tensor:
        return torch.tensor(self.pad * 2, dtype=boxes.dtype, device=boxes.device)


def letterbox(size: tuple[int, int], imgsz: int, stride: int | None = None) -> Letterbox:
    """The letterbox of a picture.

    Args:
        size: (width, height) of the picture in px.
        imgsz: long side of the scaled picture in px.
        stride: None pads to a square of side `imgsz`; a number pads each side only to its next multiple.
    """
    width, height = size
    gain = min(imgsz / height, imgsz / width)
    resized = (max(round(width * gain), 1), max(round(height * gain), 1))
    spare = (imgsz - resized[0], imgsz - resized[1])
    if stride is not None:
        spare = (spare[0] % stride, spare[1] % stride)
    pad = (max(round(spare[0] / 2 - 0.1), 0), max(round(spare[1] / 2 - 0.1), 0))
    return Letterbox(size, gain, resized, pad, (resized[0] + spare[0], resized[1] + spare[1]))


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear without antialiasing, rounded: OpenCV's INTER_LINEAR within one grey level.

    Args:
        image: uint8 (3, H, W).
        size: (width, height) wanted, in px.

    Returns:
        uint8 (3, height, width).
    """
    width, height = size
    if tuple(image.shape[1:]) == (height, width):
        return image
    scaled = functional.interpolate(image[None].float(), (height, width), mode="bilinear", align_corners=False)
    return scaled[0].round_().to(torch.uint8)


def letterboxed(image: Tensor, box: Letterbox) -> Tensor:
    """The picture, uint8 (3, H, W), in its letterbox: uint8 (3, out height, out width)."""
    (wide, high), (left, top), (out_wide, out_high) = box.resized, box.pad, box.out
    canvas = torch.full((3, out_high, out_wide), PAD_VALUE, dtype=torch.uint8, device=image.device)
    canvas[:, top : top + high, left : left + wide] = resize(image, box.resized)
    return canvas
