"""Which files are images, and all images below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from effscope.data.record import Fault, Ledger

OTHER_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".exr", ".hdr"}
)
"""Suffixes of images that Pillow may not be able to open."""

NO_PIXELS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow recognises but cannot decode by itself."""


@cache
def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of all images that Pillow can open here."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in NO_PIXELS)


def is_image(path: Path) -> bool:
    """Whether the file name is one of an image that can be opened here; does not open the file."""
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


def spellings(path: str) -> tuple[str, ...]:
    """A path as a label file has it, and the same one with / for \\, as Windows writes it. The file decides."""
    return (path, path.replace("\\", "/")) if "\\" in path else (path,)


def images_under(folder: Path, ledger: Ledger) -> list[Path]:
    """All images in a folder and its subfolders, sorted by relative posix path. Links are followed.

    Hidden folders are left out; their images, and images that cannot be opened here, are noted in the ledger.
    """
    found = []
    for path in files_under(folder):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts[:-1])
        if is_image(path) and hidden:
            ledger.note(Fault.HIDDEN, str(path))
        elif is_image(path):
            found.append(path)
        elif path.suffix.lower() in OTHER_SUFFIXES and not hidden and not path.name.startswith("."):
            ledger.note(Fault.UNKNOWN_SUFFIX, str(path))
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def files_under(folder: Path) -> Iterator[Path]:
    """All files below a folder, links followed; a folder that is reached twice is entered once."""
    seen = {os.path.realpath(folder), *map(str, Path(os.path.realpath(folder)).parents)}
    for parent, folders, names in os.walk(folder, followlinks=True):
        for name in sorted(folders):
            real = os.path.realpath(Path(parent) / name)
            if real in seen:
                folders.remove(name)
            seen.add(real)
        yield from (Path(parent) / name for name in names)
