"""Data as read by a format, before any check: records as in the files, and the ledger of faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effscope.data.sample import Key
from effscope.errors import EffscopeError

SPLIT_NAMES = ("train", "val", "test", "valid", "validation", "training", "testing", "trainval")
SPLIT_ALIASES = {
    "train": ("training",),
    "val": ("valid", "validation", "test"),
    "test": ("testing",),
}
MAX_EXAMPLES = 3


class Fault(StrEnum):
    """Every kind of fault of a data set. The value is the key in `DataSet.faults`."""

    FOUND_BELOW = "data set in a subfolder"
    OTHER_SPLIT = "split taken from another"
    NOT_UTF8 = "file that is not UTF-8"
    NO_NAMES = "classes without names"
    SHARED_NAME = "class name of several categories"
    HIDDEN = "image in a hidden folder"
    UNKNOWN_SUFFIX = "image of a format that Pillow cannot open here"
    LISTED_TWICE = "image listed twice"
    SHARED_ID = "image id of several files"
    MISSING_IMAGE = "missing image"
    UNREADABLE_IMAGE = "unreadable image"
    FILLED = "JPEG cut short and closed"
    MISSING_LABELS = "missing label file"
    UNREADABLE_LABELS = "unreadable label file"
    UNREADABLE_ROW = "unreadable row"
    POINTS = "row of points (polygon or oriented box)"
    NON_FINITE = "non-finite box"
    UNKNOWN_CLASS = "unknown class"
    CROWD = "crowd box"
    DIFFICULT = "difficult object"
    UNLISTED_IMAGE = "box of an unlisted image"
    DUPLICATE = "duplicate box"
    ZERO_AREA = "zero-area box"
    OUTSIDE = "box outside the image"
    CLIPPED = "box partly outside the image"
    NEAR_DUPLICATE = "near-duplicate boxes"
    EXIF_TURNED = "image turned by EXIF"
    UNTURNED_BOXES = "boxes drawn on the unturned image"
    OTHER_SIZE = "declared size differs from the image's"


ACTIONS: dict[Fault, str] = {
    Fault.FOUND_BELOW: "used",
    Fault.OTHER_SPLIT: "used",
    Fault.NOT_UTF8: "read, with letters left out that are not UTF-8",
    Fault.NO_NAMES: "numbered",
    Fault.SHARED_NAME: "the ids added to the name",
    Fault.HIDDEN: "left out",
    Fault.UNKNOWN_SUFFIX: "left out",
    Fault.LISTED_TWICE: "read once",
    Fault.SHARED_ID: "all of them dropped, because their boxes cannot be told apart",
    Fault.MISSING_IMAGE: "dropped",
    Fault.UNREADABLE_IMAGE: "dropped",
    Fault.FILLED: "dropped, because decoders fill the missing part with grey",
    Fault.MISSING_LABELS: "image kept as background",
    Fault.UNREADABLE_LABELS: "image dropped",
    Fault.UNREADABLE_ROW: "dropped",
    Fault.POINTS: "the box around them used",
    Fault.NON_FINITE: "dropped",
    Fault.UNKNOWN_CLASS: "dropped",
    Fault.CROWD: "not trained on, and detections in it are not scored",
    Fault.DIFFICULT: "not trained on, and detections in it are not scored",
    Fault.UNLISTED_IMAGE: "dropped",
    Fault.DUPLICATE: "one kept for training",
    Fault.ZERO_AREA: "dropped for training, scored as written",
    Fault.OUTSIDE: "dropped for training, scored as written",
    Fault.CLIPPED: "clipped for training, scored as written",
    Fault.NEAR_DUPLICATE: "kept",
    Fault.EXIF_TURNED: "turned upright",
    Fault.UNTURNED_BOXES: "turned with the image",
    Fault.OTHER_SIZE: "the image's own size used",
}


class Unit(StrEnum):
    """Unit of the numbers of a box."""

    PIXEL = "px"
    FRACTION = "fraction of the image's side"


@dataclass
class Ledger:
    """Collects faults while a data set is read: the number of each kind, and the first examples.

    Attributes:
        counts: kind -> number of occurrences.
        examples: kind -> at most `MAX_EXAMPLES` examples, each with its place.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, fault: Fault, example: str) -> None:
        """Count one fault, and store the example if this kind has less than `MAX_EXAMPLES`."""
        self.counts[fault.value] += 1
        shown = self.examples.setdefault(fault.value, [])
        if len(shown) < MAX_EXAMPLES:
            shown.append(example)


@dataclass(frozen=True, eq=False)
class Record:
    """One image and its boxes as written in the data set; only the syntax is checked.

    Attributes:
        image: path of the image, which may not exist, or its pixels, uint8 (H, W, 3) RGB.
        name: name of the image in messages and in the digest.
        boxes: float64 (N, 4), xyxy in `unit`, unchecked.
        labels: int64 (N,), index into the classes of the listing, all valid.
        unit: unit of `boxes`.
        declared: (width, height) in px that the label file declares; None if it does not.
        areas: float64 (N,), area of each object in square px; NaN, or None for all: the area of the box.
        ignored: bool (N,), objects that are not trained on and not to be found; None: no object is.
        key: id of the image in the label file; None if it has none.
        repeats: whether the scorer takes equal rows as several objects (COCO and VOC) or as one (YOLO).
    """

    image: Path | NDArray[np.uint8]
    name: str
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    unit: Unit = Unit.PIXEL
    declared: tuple[int, int] | None = None
    areas: NDArray[np.float64] | None = None
    ignored: NDArray[np.bool_] | None = None
    key: Key | None = None
    repeats: bool = True


@dataclass(frozen=True)
class Listing:
    """A split as a format reads it.

    Attributes:
        classes: names, position = label.
        images: identifier of each image in this format, e.g. its path, in the fixed order of the data set.
        read: function from some of `images` to their records; reads label files and notes faults while it iterates.
        category_ids: class name -> its id in the label file; empty if it has none.
        doing: what `read` does, for the progress.
    """

    classes: tuple[str, ...]
    images: Sequence[Any]
    read: Callable[[Sequence[Any]], Iterator[Record]]
    category_ids: Mapping[str, Key] = field(default_factory=dict)
    doing: str = "listing images"

    def records(self) -> Iterator[Record]:
        """The records of all images."""
        return self.read(self.images)

    def spread(self, limit: int) -> Listing:
        """Reorder the images: first `limit` images spread evenly over the split, then the others as a reserve."""
        first = spread_positions(len(self.images), limit)
        chosen = set(first)
        order = first + [k for k in range(len(self.images)) if k not in chosen]
        return replace(self, images=[self.images[k] for k in order])


def spread_positions(n: int, limit: int) -> list[int]:
    """At most `limit` positions, spread evenly over 0..n-1."""
    return list(range(n)) if limit >= n else [k * n // limit for k in range(limit)]


def rows_to_arrays(
    rows: Iterable[tuple[int, tuple[float, float, float, float]]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(label, xyxy) rows as boxes float64 (N, 4) and labels int64 (N,)."""
    listed = list(rows)
    boxes = np.array([box for _, box in listed], dtype=np.float64).reshape(-1, 4)
    return boxes, np.array([label for label, _ in listed], dtype=np.int64)


def is_set(flag: Any) -> bool:
    """Whether a flag of a label file is set: a number other than 0, also as text, or the text "true" or "yes"."""
    text = str(flag).strip().lower()
    try:
        return float(text) != 0
    except ValueError:
        return text in {"true", "yes"}


def choose_split(split: str, available: Iterable[str], source: str, ledger: Ledger) -> str:
    """The split to read: `split`, else an alias of it that exists (noted in the ledger).

    Raises:
        EffscopeError: no such split exists; the message lists the splits.
    """
    names = list(available)
    if split in names:
        return split
    for alias in SPLIT_ALIASES.get(split, ()):
        if alias in names:
            ledger.note(Fault.OTHER_SPLIT, f"no '{split}' in {source}: '{alias}' is used")
            return alias
    listed = ", ".join(names) if names else "none"
    raise EffscopeError(f"{source} has no split '{split}': its splits are {listed}")
