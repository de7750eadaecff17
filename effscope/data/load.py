"""`load` reads a data set of any known format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from effscope.data.check import check_listing
from effscope.data.coco import is_coco, list_coco
from effscope.data.folder import is_folder, list_folder, without_labels
from effscope.data.naming import BUILTIN, IMAGES, find_data
from effscope.data.record import Ledger, Listing
from effscope.data.sample import DataSet
from effscope.data.shapes import is_shapes, list_shapes
from effscope.data.voc import is_voc, list_voc
from effscope.data.yolo import is_yolo, list_yolo
from effscope.errors import EffscopeError
from effscope.progress import Progress, silent


@dataclass(frozen=True)
class Format:
    """A data set format.

    Attributes:
        name: name, and prefix that selects this format: `voc:FOLDER`.
        recognise: whether the data is in this format; looks for files, does not parse them.
        listing: (data, split, seed, ledger) -> classes and records of the split.
    """

    name: str
    recognise: Callable[[str], bool]
    listing: Callable[[str, str, int, Ledger], Listing]


FORMATS: tuple[Format, ...] = (  # the first that recognises the data reads it
    Format(BUILTIN, is_shapes, list_shapes),
    Format("coco", is_coco, list_coco),
    Format("yolo", is_yolo, list_yolo),
    Format("voc", is_voc, list_voc),  # last: it recognises any folder with XML files
)


UNLABELLED = Format(IMAGES, is_folder, list_folder)
"""A folder of images: read only where no labels are wanted."""


def load_images(
    data: str,
    split: str,
    classes: tuple[str, ...],
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> DataSet:
    """The images of one split, without labels: those of a data set, whose labels are ignored, or of a plain folder.

    Args:
        data: a data set as in `load`, or a folder of images. Without a `train` and a `val` folder in it, or in its
            `images`, every fifth image is for validation.
        split, limit, seed, progress: as in `load`.
        classes: names of the classes that the images are to be labelled with.

    Raises:
        EffscopeError: no such data, or no usable image.
    """
    found, path = find_format(data, (*FORMATS, UNLABELLED))
    ledger = Ledger()
    listing = found.listing(path, split, seed, ledger)
    if limit is not None:
        listing = listing.spread(limit)
    return without_labels(check_listing(data, split, listing, ledger, limit, False, progress), classes)


def load(data: str, split: str, limit: int | None = None, seed: int = 0, progress: Progress = silent) -> DataSet:
    """Read one split of a data set and check it; the result has the faults that were found.

    load("data.yaml", "train")             a YOLO data set
    load("bccd", "val")                    a folder: COCO, else YOLO, else VOC, by its files
    load("voc:bccd", "val")                a folder with several formats, read as VOC
    load("builtin:shapes", "train", 64)    64 of the drawn images

    Only headers of images are read; `read_image` reads the pixels.

    Args:
        data: a YOLO `data.yaml`, a COCO or VOC folder, or `builtin:shapes`; `FORMAT:PATH` chooses a format.
        split: "train", "val" or "test". If "val" does not exist, "valid" or "test" is read and noted as a fault.
        limit: keep at most `limit` usable images, spread evenly over the split; None = all. The others are not read.
        seed: seed of `builtin:shapes`, and of the 80/20 split of a VOC folder without splits. Use the same seed for
            runs that you compare.
        progress: called with the fraction done and a text.

    Raises:
        EffscopeError: no such data, an unknown format or split, or no usable image or box.
    """
    if limit is not None and limit < 1:
        raise EffscopeError(f"`limit` is {limit}: it must be at least 1")
    found, path = find_format(data)
    ledger = Ledger()
    listing = found.listing(path, split, seed, ledger)
    if limit is not None:
        listing = listing.spread(limit)
    return check_listing(data, split, listing, ledger, limit, progress=progress)


def find_format(data: str, formats: tuple[Format, ...] = FORMATS) -> tuple[Format, str]:
    """The format of the data, and the data's name without a format prefix.

    Raises:
        EffscopeError: no such data, or an unknown format.
    """
    prefix, path = find_data(data, tuple(known.name for known in formats))
    chosen = next((known for known in formats if known.name == prefix), None)
    if prefix == BUILTIN and chosen is not None:
        return chosen, data
    for known in [chosen] if chosen else formats:
        if known.recognise(path):
            return known, path
    tried = chosen.name if chosen else ", ".join(known.name for known in formats[1:])
    raise EffscopeError(
        f"'{data}' is not a data set that effscope can read (tried {tried}): name a YOLO data.yaml, a COCO folder with "
        "train.json and val.json, or a VOC folder with XML files"
        + (f"; {path} has images: a search takes them with `labels` none" if is_folder(path) else "")
    )
