"""Read headers and pixels of images, both for the upright image (EXIF orientation applied)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from effscope.data.cut_short import FilledWithGrey, is_cut, is_filled, whole_files_only
from effscope.data.sample import Sample
from effscope.errors import EffscopeError, first_line

EXIF_ORIENTATION_TAG = 0x0112
ORIENTATIONS = frozenset(range(1, 9))  # EXIF values; 1 = upright
SIDEWAYS = frozenset({5, 6, 7, 8})  # orientations that swap width and height
MAX_16_BIT = 65535.0


@dataclass(frozen=True)
class Header:
    """The header of an image, read without decoding the pixels.

    Attributes:
        stored: (width, height) in px as stored.
        size: (width, height) in px when upright.
        orientation: EXIF orientation 1-8, 1 = stored upright.
    """

    stored: tuple[int, int]
    size: tuple[int, int]
    orientation: int


def read_header(path: Path) -> Header:
    """Size and orientation of an image without decoding it.

    Raises:
        FileNotFoundError: the file does not exist.
        EffscopeError: the file is not a readable image.
    """
    try:
        with whole_files_only(), Image.open(path) as image:
            orientation = _orientation(image)
            width, height = image.size
    except FileNotFoundError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise _unreadable(path, error) from None
    upright = (height, width) if orientation in SIDEWAYS else (width, height)
    return Header((width, height), upright, orientation)


def read_image(sample: Sample) -> NDArray[np.uint8]:
    """Pixels of a sample, uint8 (H, W, 3) RGB, upright, of the size in the sample.

    Grey, palette, CMYK, 16-bit and float images become 8-bit RGB; an alpha channel is dropped.

    Raises:
        FilledWithGrey: a JPEG is cut short, but has an end marker.
        EffscopeError: the file is missing or broken, or its size has changed since it was listed.
    """
    if not isinstance(sample.image, Path):
        return sample.image
    pixels = decode(sample.image)
    height, width = pixels.shape[:2]
    if (width, height) != sample.size:
        listed = f"{sample.size[0]}x{sample.size[1]}"
        raise EffscopeError(f"{sample.image} is {width}x{height} px but was listed as {listed}: load the data again")
    return pixels


def decode(path: Path) -> NDArray[np.uint8]:
    """Pixels of an image file, uint8 (H, W, 3) RGB, upright.

    Raises:
        FilledWithGrey: a JPEG is cut short, but has an end marker.
        EffscopeError: the file is missing or broken.
    """
    try:
        with whole_files_only(), Image.open(path) as image:
            turned = _orientation(image) != 1
            image.load()
            if is_filled(path, image):
                raise FilledWithGrey
            upright = ImageOps.exif_transpose(image) if turned else image
            return np.array(_to_rgb(upright), dtype=np.uint8)
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise _unreadable(path, error) from None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation that has not been applied to `image` yet, 1-8.

    A PNG without EXIF before its pixels counts as upright: to find EXIF after them, Pillow would decode the whole
    image. Pillow turns a TIFF while it decodes it; its size is known only after that.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return 1
    value = image.getexif().get(EXIF_ORIENTATION_TAG, 1)
    if image.format == "TIFF" and value != 1:
        image.load()
        return 1
    return value if value in ORIENTATIONS else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    deep = _DEEP_MODES.get(image.mode)
    if deep is None:
        return image.convert("RGB")
    grey = deep(np.asarray(image).astype(np.float64))
    return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")


def _from_16_bit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / MAX_16_BIT * 255.0


def _from_float(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Floats are 0-1, or 0-255 if any value is above 1."""
    finite = np.nan_to_num(values)
    return finite if finite.max(initial=0.0) > 1.0 else finite * 255.0


_DEEP_MODES: dict[str, Any] = {
    "I;16": _from_16_bit,
    "I;16L": _from_16_bit,
    "I;16B": _from_16_bit,
    "I;16N": _from_16_bit,
    "I": _from_16_bit,
    "F": _from_float,
}


def _unreadable(path: Path, error: Exception) -> EffscopeError:
    advice = "replace the file or take it out of the data set"
    if isinstance(error, FileNotFoundError):
        return EffscopeError(f"{path} is missing: {advice}")
    if isinstance(error, FilledWithGrey):
        return FilledWithGrey(f"{path} is cut short and then closed, decoders fill the rest with grey: {advice}")
    if is_cut(error):
        return EffscopeError(f"{path} is cut short ({first_line(error)}): {advice}")
    return EffscopeError(f"{path} cannot be read as an image ({first_line(error)}): {advice}")
