"""Sizes of the input: the side of a square image, height and width, or a whole shape."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from effscope.config.checks import at_least, image_side
from effscope.errors import EffscopeError

ImageSize = int | tuple[int, ...]
"""Side of a square image in px; (height, width); or a whole shape, (batch, channels, height, width). () stands for
inputs that are no image."""

IMAGE_CHANNELS = 3
RECTANGLE = 2
"""Number of sides of a rectangle."""


def read_image_size(name: str, value: Any) -> ImageSize:
    """The size that a user gives: a number or several ones, also as text: 640, 320x640, 320,640, 1x1x256x256.

    Raises:
        EffscopeError: another value, or a number below 1.
    """
    parts = re.split(r"\s*[x,]\s*", value.strip().lower()) if isinstance(value, str) else value
    numbers = list(parts) if isinstance(parts, list | tuple) else [parts]
    numbers = [int(part) if isinstance(part, str) and re.fullmatch("[0-9]{1,9}", part) else part for part in numbers]
    if not numbers or not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise EffscopeError(
            f"`{name}` must be a side in px (640), height x width (320x640) or a shape (1x3x320x640); got {value!r}"
        )
    for number in numbers:
        at_least(1)(name, number)
    square = len(numbers) == 1 or (len(numbers) == RECTANGLE and numbers[0] == numbers[1])
    return int(numbers[0]) if square else tuple(numbers)


def image_size(name: str, value: Any) -> None:
    """Check for a size that `read_image_size` reads; () is fine."""
    if value != ():
        read_image_size(name, value)


def check_imgsz(imgsz: ImageSize | None, detector: bool = True) -> None:
    """Check a size; None is fine. A detector also needs height and width in multiples of `IMGSZ_MULTIPLE`."""
    if imgsz is None:
        return
    for side in (imgsz,) if isinstance(imgsz, int) else imgsz[-RECTANGLE:]:
        (image_side if detector else at_least(1))("imgsz", side)


def check_stride(imgsz: ImageSize, strides: Iterable[int]) -> None:
    """Check that the sides of a size are multiples of the largest stride of a head, so that its maps fit together."""
    largest = max(strides, default=1)
    for side in (imgsz,) if isinstance(imgsz, int) else imgsz[-RECTANGLE:]:
        if side % largest:
            raise EffscopeError(f"`imgsz` must be a multiple of {largest} for this model, got {side}")


def image_shape(size: ImageSize, channels: int = IMAGE_CHANNELS) -> tuple[int, ...]:
    """The shape of the input, (batch, channels, height, width); a whole shape stays as it is.

    Args:
        size: the size.
        channels: channels of the image, if the size does not tell.
    """
    if isinstance(size, int):
        return (1, channels, size, size)
    return (1, channels, *size) if len(size) == RECTANGLE else size


def size_words(size: ImageSize) -> str:
    """The size for a title: `640 px`, `320x640 px`, `input 1x1x256x256`."""
    if isinstance(size, int):
        return f"{size} px"
    if not size:
        return "the given inputs"
    text = "x".join(map(str, size))
    return f"{text} px" if len(size) == RECTANGLE else f"input {text}"


def square_side(name: str, size: ImageSize) -> int:
    """The side of a size that must be a square.

    Raises:
        EffscopeError: it is not one.
    """
    if not isinstance(size, int):
        raise EffscopeError(f"`{name}` must be one side in px here, for a square image; got {size_words(size)}")
    return size
