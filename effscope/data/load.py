"""`load` reads a data set of any known format."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from effscope.data.check import check_listing
from effscope.data.coco import is_coco, list_coco
from effscope.data.folder import is_folder, list_folder, without_labels
from effscope.data.naming import BUILTIN, IMAGES, find_data
from effscope.data.record import Fault, Ledger, Listing
from effscope.data.sample import DataSet
from effscope.data.shapes import is_shapes, list_shapes
from effscope.data.voc import has_voc, is_voc, list_voc
from effscope.data.yolo import is_yolo, list_yolo
from effscope.errors import EffscopeError
from effscope.progress import Progress, silent


@dataclass(frozen=True)
class Format:
    """A data set format.

    Attributes:
        name: name, and prefix that selects this format: `voc:FOLDER`.
        recognise: whether the data itself is in this format; looks for files, does not parse them.
        listing: (data, split, seed, ledger) -> classes and records of the split.
        when_named: whether the data can be read in this format if its name says so; default: `recognise`.
    """

    name: str
    recognise: Callable[[str], bool]
    listing: Callable[[str, str, int, Ledger], Listing]
    when_named: Callable[[str], bool] | None = None

    def accepts(self, path: str, named: bool) -> bool:
        """Whether the data is in this format; `named`: its name says so."""
        return (self.when_named or self.recognise)(path) if named else self.recognise(path)


FORMATS: tuple[Format, ...] = (  # the first that recognises the data reads it
    Format(BUILTIN, is_shapes, list_shapes),
    Format("coco", is_coco, list_coco),
    Format("yolo", is_yolo, list_yolo),
    Format("voc", is_voc, list_voc, has_voc),  # last: it recognises any folder with XML files
)


UNLABELLED = Format(IMAGES, is_folder, list_folder)
"""A folder of images: read only where no labels are wanted."""

DEPTH = 3
"""Data sets are looked for so many levels below a folder that is none."""

MOST_NAMED = 4
"""Data sets in a message."""


@dataclass(frozen=True)
class Found:
    """The data that a name stands for.

    Attributes:
        format: its format.
        path: its path, without the prefix of a format.
        below: the folder that was named, if the data is a folder below it; else "".
    """

    format: Format
    path: str
    below: str = ""

    def listing(self, split: str, seed: int, ledger: Ledger) -> Listing:
        """Classes and records of the split; a data set below the named folder is noted."""
        if self.below:
            ledger.note(Fault.FOUND_BELOW, f"{self.below} is no data set, {self.path} is read")
        return self.format.listing(self.path, split, seed, ledger)


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
    ledger = Ledger()
    listing = find_format(data, (*FORMATS, UNLABELLED)).listing(split, seed, ledger)
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
        data: a YOLO `data.yaml`, a COCO or VOC folder, or `builtin:shapes`; `FORMAT:PATH` chooses a format. For a
            folder that holds one data set, this one is read, which is noted as a fault.
        split: "train", "val" or "test". If "val" does not exist, "valid" or "test" is read and noted as a fault.
        limit: keep at most `limit` usable images, spread evenly over the split; None = all. The others are not read.
        seed: seed of `builtin:shapes`, and of the 80/20 split of a VOC folder without splits. Use the same seed for
            runs that you compare.
        progress: called with the fraction done and a text.

    Raises:
        EffscopeError: no such data, a folder of several data sets, an unknown format or split, or no usable image or
            box.
    """
    if limit is not None and limit < 1:
        raise EffscopeError(f"`limit` is {limit}: it must be at least 1")
    ledger = Ledger()
    listing = find_format(data).listing(split, seed, ledger)
    if limit is not None:
        listing = listing.spread(limit)
    return check_listing(data, split, listing, ledger, limit, progress=progress)


def find_format(data: str, formats: tuple[Format, ...] = FORMATS) -> Found:
    """The data that a name stands for: the folder or file itself, else the only data set below the folder.

    Raises:
        EffscopeError: no such data, several data sets below the folder, or an unknown format.
    """
    prefix, path = find_data(data, tuple(known.name for known in formats))
    chosen = next((known for known in formats if known.name == prefix), None)
    if prefix == BUILTIN and chosen is not None:
        return Found(chosen, data)
    tried = [chosen] if chosen else [known for known in formats if known is not UNLABELLED]
    own = next((known for known in tried if known.accepts(path, named=chosen is not None)), None)
    if own is not None:
        return Found(own, path)
    below = _below(path, tried)
    if len(below) == 1:
        return replace(below[0], below=path)
    has_images = is_folder(path)
    if has_images and UNLABELLED in formats and chosen is None:
        return Found(UNLABELLED, path)
    if below:
        raise _several(data, path, below)
    raise EffscopeError(
        f"'{data}' is not a data set that effscope can read (tried {_names(tried)}): name a YOLO data.yaml, a COCO "
        "folder with train.json and val.json, or a VOC folder with XML files"
        + (f"; {path} has images: a search takes them with `labels` none" if has_images else "")
    )


def _names(formats: Sequence[Format]) -> str:
    return ", ".join(known.name for known in formats if known.name != BUILTIN)


def _below(
    path: str, formats: Sequence[Format], depth: int = DEPTH, parents: frozenset[str] = frozenset()
) -> list[Found]:
    """The data sets below a folder, in order of their paths; none below another. Hidden folders are left out."""
    if not Path(path).is_dir() or depth == 0 or os.path.realpath(path) in parents:
        return []
    found: list[Found] = []
    inside = sorted(one for one in Path(path).iterdir() if one.is_dir() and not one.name.startswith("."))
    for folder in (one for one in inside if os.access(one, os.R_OK | os.X_OK)):
        own = next((known for known in formats if known.recognise(str(folder))), None)
        above = parents | {os.path.realpath(path)}
        found += [Found(own, str(folder))] if own else _below(str(folder), formats, depth - 1, above)
    return found


def _several(data: str, path: str, found: Sequence[Found]) -> EffscopeError:
    paths = [Path(one.path).relative_to(path).as_posix() for one in found]
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    merged = (
        f"; voc:{path} reads all XML files below it as one" if all(one.format.name == "voc" for one in found) else ""
    )
    return EffscopeError(
        f"'{data}' holds {len(paths)} data sets: {', '.join(paths[:MOST_NAMED])}{more}: name one of them{merged}"
    )
