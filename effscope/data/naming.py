"""What DATA names, from the name and the file system alone."""

from __future__ import annotations

from pathlib import Path

from effscope.errors import EffscopeError

BUILTIN, IMAGES = "builtin", "images"
PREFIXES = (BUILTIN, "coco", "yolo", "voc")
"""Words before the colon of `FORMAT:PATH` for data with labels."""


def find_data(data: str, prefixes: tuple[str, ...] = PREFIXES) -> tuple[str, str]:
    """The format that a name chooses, or "", and the path that it names.

    Args:
        data: a path, `FORMAT:PATH`, or `builtin:...`, which is returned as it is.
        prefixes: formats that may be chosen.

    Raises:
        EffscopeError: there is no such file or folder.
    """
    prefix, colon, rest = data.partition(":")
    chosen = prefix if colon and prefix in prefixes else ""
    if chosen == BUILTIN:
        return chosen, data
    if colon and prefix == IMAGES and not chosen:
        raise EffscopeError(f"'{data}' has no labels: a search takes it with `labels` none")
    path = str(Path(rest if chosen else data).expanduser())
    if not Path(path).exists():
        raise EffscopeError(
            f"data set '{data}' does not exist: name a YOLO data.yaml, a COCO or VOC folder, or builtin:shapes"
        )
    return chosen, path


def look_up_data(data: str, labelled: bool = True) -> None:
    """Check the name of a data set before anything slow is imported. No image and no label is read.

    Args:
        data: as in `load`.
        labelled: whether labels are needed; without, a folder of images will do.

    Raises:
        EffscopeError: no such data, or an unknown format.
    """
    find_data(data, PREFIXES if labelled else (*PREFIXES, IMAGES))
    from effscope.data.load import FORMATS, UNLABELLED, find_format  # noqa: PLC0415 - imports numpy

    find_format(data, FORMATS if labelled else (*FORMATS, UNLABELLED))
