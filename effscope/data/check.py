"""From records to samples: faults are corrected or dropped, and counted. It is an error only if nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effscope.data.box_faults import Boxes, clean, is_repeat
from effscope.data.cut_short import FilledWithGrey
from effscope.data.digest import digest_of
from effscope.data.read import SIDEWAYS, Header, read_header, read_image
from effscope.data.record import ACTIONS, Fault, Ledger, Listing, Record, Unit
from effscope.data.sample import DataSet, Objects, Sample, areas_of
from effscope.errors import EffscopeError, counted
from effscope.progress import Progress, Say, silent


@dataclass(frozen=True)
class Broken:
    """An image that cannot be decoded: the kind of its fault, and what is wrong, for the user."""

    fault: Fault
    text: str

    @classmethod
    def by(cls, error: Exception) -> Broken:
        """The image whose decoding raised this error."""
        return cls(Fault.FILLED if isinstance(error, FilledWithGrey) else Fault.UNREADABLE_IMAGE, str(error))


ADVICE: dict[Fault, str] = {
    Fault.OUTSIDE: "check the unit of the boxes (YOLO: fractions 0-1; COCO and VOC: pixels)",
    Fault.MISSING_IMAGE: "check that the images are where this layout has them",
    Fault.SHARED_ID: "give each image an id of its own",
    Fault.DIFFICULT: "at least one object must not be difficult",
}
"""What to do if this fault has left no box."""


def check_listing(
    source: str,
    split: str,
    listing: Listing,
    ledger: Ledger,
    limit: int | None,
    labelled: bool = True,
    progress: Progress = silent,
) -> DataSet:
    """The usable samples of a listing, its faults and its digest.

    Args:
        source: the data set as the user named it.
        split: the split that the user named.
        listing: records in their fixed order; reading stops after `limit` usable images.
        ledger: faults so far; new faults are added.
        limit: keep the first `limit` usable images of the listing; None = all.
        labelled: whether there must be a box.
        progress: called with the fraction done and a text.

    Raises:
        EffscopeError: no usable image or no usable box.
    """
    n = min(len(listing.images), limit or len(listing.images))

    def tell(k: int) -> None:
        progress(min(k / n, 1.0), f"{listing.doing} {k}/{max(k, n)}")

    samples = tuple(islice(_samples(listing, ledger, tell), limit))
    if not samples or (labelled and not any(len(sample.boxes) for sample in samples)):
        raise EffscopeError(_nothing_left(source, split, len(samples), ledger, limit))
    return DataSet(
        source=source,
        split=split,
        classes=listing.classes,
        samples=samples,
        faults=Counter(ledger.counts),
        examples={kind: tuple(shown) for kind, shown in ledger.examples.items()},
        digest=digest_of(listing.classes, samples),
        category_ids=listing.category_ids,
    )


def fault_lines(dataset: DataSet) -> list[str]:
    """One line per kind of fault, in a fixed order: count, what was done, an example. Empty without faults."""
    lines = []
    for fault, action in ACTIONS.items():
        if count := dataset.faults.get(fault.value, 0):
            shown = next(iter(dataset.examples.get(fault.value, ())), "")
            lines.append(f"{fault.value}: {count}, {action} (e.g. {shown})" if shown else f"{fault.value}: {count}")
    return lines


def say_faults(dataset: DataSet, say: Say) -> None:
    """Say the faults of a split, one line per kind."""
    for line in fault_lines(dataset):
        say(f"{dataset.split}: {line}")


def decodable(dataset: DataSet) -> DataSet:
    """The data without images that cannot be decoded; these are counted as unreadable or as cut short.

    Decodes every image once. This finds truncated images; `load` does not, because it reads only headers.

    Raises:
        EffscopeError: no box is left.
    """
    broken: dict[int, Broken] = {}
    for position, sample in enumerate(dataset.samples):
        try:
            read_image(sample)
        except EffscopeError as error:
            broken[position] = Broken.by(error)
    return check_boxes(without(dataset, broken))


def without(dataset: DataSet, broken: Mapping[int, Broken]) -> DataSet:
    """The data without the broken images, which are counted; `broken` is position -> what is wrong."""
    if not broken:
        return dataset
    ledger = _ledger(dataset)
    for one in broken.values():
        ledger.note(one.fault, one.text)
    kept = tuple(sample for n, sample in enumerate(dataset.samples) if n not in broken)
    return replace(
        dataset,
        samples=kept,
        faults=ledger.counts,
        examples={kind: tuple(shown) for kind, shown in ledger.examples.items()},
        digest=digest_of(dataset.classes, kept),
    )


def none_readable(dataset: DataSet, broken: Mapping[int, Broken]) -> EffscopeError:
    """The error for a split without a readable image; `broken` is position -> what is wrong."""
    why = f", e.g. {next(iter(broken.values())).text}" if broken else ""
    return EffscopeError(f"no image of '{dataset.source}' ({dataset.split}) can be read{why}: check the files")


def check_boxes(dataset: DataSet) -> DataSet:
    """Return the data unchanged. Raises EffscopeError, with the faults, if it has no box."""
    if not any(len(sample.boxes) for sample in dataset.samples):
        n = len(dataset.samples)
        raise EffscopeError(_nothing_left(dataset.source, dataset.split, n, _ledger(dataset), None))
    return dataset


def _ledger(dataset: DataSet) -> Ledger:
    return Ledger(Counter(dataset.faults), {kind: list(shown) for kind, shown in dataset.examples.items()})


def _samples(listing: Listing, ledger: Ledger, tell: Callable[[int], None]) -> Iterator[Sample]:
    for n, record in enumerate(listing.records(), 1):
        tell(n)
        header = _header(record, ledger)
        if header is None:
            continue
        upright = _upright_px(record, header, ledger)
        boxes, kept = clean(upright, record, header.size, listing.classes, ledger)
        if record.ignored is not None:
            boxes, kept = boxes[~record.ignored[kept]], kept[~record.ignored[kept]]
        trained = boxes.astype(np.float32)
        written = _written(record, upright, header.size, trained)
        yield Sample(record.image, header.size, trained, record.labels[kept], record.name, written, record.key)


def _written(record: Record, upright: Boxes, size: tuple[int, int], trained: NDArray[np.float32]) -> Objects | None:
    """The objects of a record as its file has them, without non-finite boxes; None if they are the trained boxes."""
    scored = np.isfinite(upright).all(axis=1)
    if not record.repeats:
        scored &= ~is_repeat(upright, record.labels, size)
    boxes = upright[scored]
    areas, ignored = areas_of(boxes), np.zeros(len(boxes), np.bool_)
    if record.areas is not None:
        given = record.areas[scored]
        areas = np.where(np.isnan(given), areas, given)
    if record.ignored is not None:
        ignored = record.ignored[scored]
    if record.areas is None and not ignored.any() and np.array_equal(boxes.astype(np.float32), trained):
        return None
    return Objects(boxes, record.labels[scored], areas, ignored)


def _header(record: Record, ledger: Ledger) -> Header | None:
    """The header of the image; None, and a note in the ledger, if the image is missing or broken."""
    if not isinstance(record.image, Path):
        height, width = record.image.shape[:2]
        return Header((width, height), (width, height), 1)
    try:
        header = read_header(record.image)
    except FileNotFoundError:
        ledger.note(Fault.MISSING_IMAGE, str(record.image))
        return None
    except EffscopeError as error:
        ledger.note(Broken.by(error).fault, str(error))
        return None
    if header.orientation != 1:
        ledger.note(Fault.EXIF_TURNED, f"{record.name} (orientation {header.orientation})")
    return header


def _upright_px(record: Record, header: Header, ledger: Ledger) -> Boxes:
    """The boxes of the record, xyxy in px of the upright image, unchecked.

    If EXIF turns the image sideways and the label file declares the stored size, its boxes were drawn on the stored
    image, and they are turned too. Otherwise they were drawn on the upright image, as viewers show it.
    """
    if record.unit is Unit.FRACTION:
        width, height = header.size
        return record.boxes * np.array([width, height, width, height], dtype=np.float64)
    if record.declared is None or record.declared == header.size or 0 in record.declared:
        return record.boxes
    if header.orientation in SIDEWAYS and record.declared == header.stored:
        ledger.note(Fault.UNTURNED_BOXES, record.name)
        return _turned(record.boxes, header)
    declared, real = ("x".join(map(str, size)) for size in (record.declared, header.size))
    ledger.note(Fault.OTHER_SIZE, f"{record.name} ({declared} declared, {real} found)")
    return record.boxes


def _turned(boxes: Boxes, header: Header) -> Boxes:
    """Boxes (N, 4) xyxy on the image as stored (EXIF orientation 5-8) -> on the upright image."""
    width, height = header.stored
    x1, y1, x2, y2 = boxes.T
    flips_x, flips_y = header.orientation in (6, 7), header.orientation in (7, 8)
    new_x = (height - y2, height - y1) if flips_x else (y1, y2)
    new_y = (width - x2, width - x1) if flips_y else (x1, x2)
    return np.stack([new_x[0], new_y[0], new_x[1], new_y[1]], axis=1)


def _nothing_left(source: str, split: str, n_images: int, ledger: Ledger, limit: int | None) -> str:
    """The message for data without a usable box: what was found, the most common faults, what to do."""
    faults = ", ".join(f"{count} x {kind}" for kind, count in ledger.counts.most_common(3)) or "no faults"
    advice = "check that the label files are where this layout has them"
    if limit is not None and n_images == limit:
        advice = f"raise the limit of {limit} images"
    else:
        advice = next((text for fault, text in ADVICE.items() if ledger.counts[fault.value]), advice)
    return f"{source}, split '{split}': no usable box in {counted(n_images, 'usable image')} ({faults}): {advice}"
