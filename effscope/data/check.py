"""From records to samples: faults are corrected or dropped, and counted. It is an error only if nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from effscope.data.digest import digest_of
from effscope.data.read import SIDEWAYS, Header, read_header, read_image
from effscope.data.record import ACTIONS, Fault, Ledger, Listing, Record, Unit
from effscope.data.sample import DataSet, Regions, Sample
from effscope.errors import EffscopeError
from effscope.progress import Say

NEAR_DUPLICATE_IOU = 0.9  # two boxes of one class with a larger IoU are probably one object labelled twice
MIN_SIDE_PX = 0.01  # a thinner box has no area
ROUNDING_PX = 0.5  # a box less than this outside the image is a rounding error: clipped but not counted

Boxes = NDArray[np.float64]
Flags = NDArray[np.bool_]


def check_listing(
    source: str, split: str, listing: Listing, ledger: Ledger, limit: int | None, labelled: bool = True
) -> DataSet:
    """The usable samples of a listing, its faults and its digest.

    Args:
        source: the data set as the user named it.
        split: the split that the user named.
        listing: records in their fixed order; reading stops after `limit` usable images.
        ledger: faults so far; new faults are added.
        limit: keep the first `limit` usable images of the listing; None = all.
        labelled: whether there must be a box.

    Raises:
        EffscopeError: no usable image or no usable box.
    """
    samples = tuple(islice(_samples(listing, ledger), limit))
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
    """The data without images that cannot be decoded; these are counted as unreadable.

    Decodes every image once. This finds truncated images; `load` does not, because it reads only headers.

    Raises:
        EffscopeError: no box is left.
    """
    unreadable = {}
    for position, sample in enumerate(dataset.samples):
        try:
            read_image(sample)
        except EffscopeError as error:
            unreadable[position] = str(error)
    return check_boxes(without(dataset, unreadable))


def without(dataset: DataSet, unreadable: Mapping[int, str]) -> DataSet:
    """The data without some images, counted as unreadable; `unreadable` is position -> what is wrong."""
    if not unreadable:
        return dataset
    ledger = _ledger(dataset)
    for reason in unreadable.values():
        ledger.note(Fault.UNREADABLE_IMAGE, reason)
    kept = tuple(sample for n, sample in enumerate(dataset.samples) if n not in unreadable)
    return replace(
        dataset,
        samples=kept,
        faults=ledger.counts,
        examples={kind: tuple(shown) for kind, shown in ledger.examples.items()},
        digest=digest_of(dataset.classes, kept),
    )


def none_readable(dataset: DataSet, unreadable: Mapping[int, str]) -> EffscopeError:
    """The error for a split without a readable image; `unreadable` is position -> what is wrong."""
    why = f", e.g. {next(iter(unreadable.values()))}" if unreadable else ""
    return EffscopeError(f"no image of '{dataset.source}' ({dataset.split}) can be read{why}: check the files")


def check_boxes(dataset: DataSet) -> DataSet:
    """Return the data unchanged. Raises EffscopeError, with the faults, if it has no box."""
    if not any(len(sample.boxes) for sample in dataset.samples):
        n = len(dataset.samples)
        raise EffscopeError(_nothing_left(dataset.source, dataset.split, n, _ledger(dataset), None))
    return dataset


def _ledger(dataset: DataSet) -> Ledger:
    return Ledger(Counter(dataset.faults), {kind: list(shown) for kind, shown in dataset.examples.items()})


def _samples(listing: Listing, ledger: Ledger) -> Iterator[Sample]:
    for record in listing.records():
        header = _header(record, ledger)
        if header is None:
            continue
        boxes, kept = _clean(_upright_px(record, header, ledger), record, header.size, listing.classes, ledger)
        yield _sample(record, header.size, boxes, kept)


def _sample(record: Record, size: tuple[int, int], boxes: Boxes, kept: NDArray[np.int64]) -> Sample:
    """The sample of a record: its clean boxes (K, 4), and their positions (K,) in the record."""
    labels, found = record.labels[kept], boxes.astype(np.float32)
    single = np.ones(len(kept), bool) if record.crowd is None else ~record.crowd[kept]
    areas = None if record.areas is None else _known_areas(record.areas[kept], boxes)[single]
    ignored = None if single.all() else Regions(found[~single], labels[~single])
    return Sample(record.image, size, found[single], labels[single], record.name, areas, ignored, record.key)


def _known_areas(areas: NDArray[np.float64], boxes: Boxes) -> NDArray[np.float64]:
    """The areas; those of the boxes where they are NaN."""
    return np.where(np.isnan(areas), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), areas)


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
        ledger.note(Fault.UNREADABLE_IMAGE, str(error))
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


def _clean(
    boxes: Boxes, record: Record, size: tuple[int, int], classes: tuple[str, ...], ledger: Ledger
) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes (K, 4) xyxy px of positive area inside an image of (width, height) px, and their positions (K,)."""
    kept = np.arange(len(boxes))
    kinds = record.labels if record.crowd is None else record.labels + len(classes) * record.crowd

    def show(index: int) -> str:
        return f"{record.name}: {classes[record.labels[kept[index]]]} {_shown(boxes[index])}"

    for fault, test in BOX_TESTS.items():
        bad = test(boxes, kinds[kept], size)
        if bad.any():
            for index in np.flatnonzero(bad):
                ledger.note(fault, show(int(index)))
            boxes, kept = boxes[~bad], kept[~bad]
    inside = _clip(boxes, size)
    for index in np.flatnonzero((np.abs(inside - boxes) > ROUNDING_PX).any(axis=1)):
        ledger.note(Fault.CLIPPED, show(int(index)))
    boxes = inside
    for first, second in _near_duplicates(boxes, kinds[kept]):
        ledger.note(Fault.NEAR_DUPLICATE, f"{show(first)} and {_shown(boxes[second])}")
    return boxes, kept


def _shown(box: Boxes) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in box)}]"


def _clip(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    width, height = size
    return np.clip(boxes, 0.0, np.array([width, height, width, height], dtype=np.float64))


def _is_non_finite(boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]) -> Flags:
    return ~np.asarray(np.isfinite(boxes).all(axis=1), dtype=np.bool_)


def _is_repeat(boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]) -> Flags:
    """Flags repeats: rows equal to an earlier row in all numbers and the label."""
    seen: set[tuple[float, ...]] = set()
    flags = np.zeros(len(boxes), dtype=np.bool_)
    for index, row in enumerate(zip(labels.tolist(), *boxes.T.tolist(), strict=True)):
        flags[index] = row in seen
        seen.add(row)
    return flags


def _is_flat(boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]) -> Flags:
    return np.asarray((boxes[:, 2:] - boxes[:, :2] < MIN_SIDE_PX).any(axis=1), dtype=np.bool_)


def _is_outside(boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]) -> Flags:
    return _is_flat(_clip(boxes, size), labels, size)


BOX_TESTS: dict[Fault, Callable[[Boxes, NDArray[np.int64], tuple[int, int]], Flags]] = {
    Fault.NON_FINITE: _is_non_finite,
    Fault.DUPLICATE: _is_repeat,
    Fault.ZERO_AREA: _is_flat,
    Fault.OUTSIDE: _is_outside,
}


def _near_duplicates(boxes: Boxes, labels: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of one class with an IoU above `NEAR_DUPLICATE_IOU`."""
    corner = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    shared = np.prod(np.clip(corner, 0.0, None), axis=2)  # (N, N)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    iou = shared / (area[:, None] + area[None, :] - shared)
    close = np.triu((iou > NEAR_DUPLICATE_IOU) & (labels[:, None] == labels[None, :]), k=1)
    return [(int(i), int(j)) for i, j in np.argwhere(close)]


def _nothing_left(source: str, split: str, n_images: int, ledger: Ledger, limit: int | None) -> str:
    """The message for data without a usable box: what was found, the most common faults, what to do."""
    faults = ", ".join(f"{count} x {kind}" for kind, count in ledger.counts.most_common(3)) or "no faults"
    advice = "check that the label files are where this layout has them"
    if limit is not None and n_images == limit:
        advice = f"raise the limit of {limit} images"
    elif ledger.counts[Fault.OUTSIDE.value]:
        advice = "check the unit of the boxes (YOLO: fractions 0-1; COCO and VOC: pixels)"
    elif ledger.counts[Fault.MISSING_IMAGE.value]:
        advice = "check that the images are where this layout has them"
    return f"{source}, split '{split}': no usable box in {n_images} usable images ({faults}): {advice}"
