"""Faults of boxes: those that cannot be trained on are dropped or clipped, and noted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from effscope.data.record import Fault, Ledger, Record

NEAR_DUPLICATE_IOU = 0.9  # two boxes of one class with a larger IoU are probably one object labelled twice
MIN_SIDE_PX = 0.01  # a thinner box has no area
ROUNDING_PX = 0.5  # a box less than this outside the image is a rounding error: clipped but not counted

Boxes = NDArray[np.float64]
Flags = NDArray[np.bool_]


def clean(
    boxes: Boxes, record: Record, size: tuple[int, int], classes: tuple[str, ...], ledger: Ledger
) -> tuple[Boxes, NDArray[np.int64]]:
    """Boxes (K, 4) xyxy px of positive area inside an image of (width, height) px, and their positions (K,).

    Args:
        boxes: (N, 4) xyxy in px of the image, unchecked.
        record: their record, for the labels and the name.
        size: (width, height) of the image in px.
        classes: names, position = label.
        ledger: the faults are noted in it.
    """
    kept = np.arange(len(boxes))
    kinds = record.labels if record.ignored is None else record.labels + len(classes) * record.ignored

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


def is_repeat(boxes: Boxes, labels: NDArray[np.int64], size: tuple[int, int]) -> Flags:
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
    Fault.DUPLICATE: is_repeat,
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
