"""Image files that end too early. Decoders fill the missing part with grey, some of them without a word."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageFile

from effscope.errors import EffscopeError

FILLED = 128  # grey level of the part of a JPEG that is missing
END_MARKER = b"\xff\xd9"
SPARE = bytes(8)  # a decoder may look a few bytes ahead


class FilledWithGrey(EffscopeError):
    """A JPEG was cut short and then closed with an end marker: decoders fill the missing part and say nothing."""


class _Strictness:
    """Pillow's setting for the whole process, and how many decodings need it off."""

    def __init__(self) -> None:
        self.lock, self.users, self.given = Lock(), 0, False


_STRICTNESS = _Strictness()


@contextmanager
def whole_files_only() -> Iterator[None]:
    """Make Pillow refuse files that are cut short, also if another library of the process has switched that off."""
    with _STRICTNESS.lock:
        if not _STRICTNESS.users:
            _STRICTNESS.given, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        _STRICTNESS.users += 1
    try:
        yield
    finally:
        with _STRICTNESS.lock:
            _STRICTNESS.users -= 1
            if not _STRICTNESS.users:
                ImageFile.LOAD_TRUNCATED_IMAGES = _STRICTNESS.given


def is_cut(error: Exception) -> bool:
    """Whether an error of Pillow says that the file ends too early."""
    return "truncated" in str(error).lower()


def is_filled(path: Path, image: Image.Image) -> bool:
    """Whether the end of a JPEG was filled with grey although the file has an end marker.

    Pillow does not say so. A picture whose last pixel is really grey decodes without the end marker as well; one
    that was cut does not, because its decoder asks for more bytes. Progressive JPEGs are taken as they are.

    Args:
        path: the file.
        image: its picture, decoded, as stored.
    """
    if image.format != "JPEG" or "progressive" in image.info:
        return False
    last = np.asarray(image.getpixel((image.width - 1, image.height - 1)))
    if (np.abs(last - FILLED) > 1).any():
        return False
    data = path.read_bytes()
    end = data.rfind(END_MARKER)
    if end < 0:
        return False
    try:
        with Image.open(io.BytesIO(data[:end] + SPARE)) as again:
            again.load()
    except OSError as error:
        return is_cut(error)
    return False
