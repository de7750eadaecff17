"""An image with its boxes, and a data set. Both are frozen; `read_image` reads the pixels later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Key = int | float | str
"""An id in a label file."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of an image as its label file has them: what detections are scored against.

    Attributes:
        boxes: float64 (M, 4), xyxy in px of the upright image; they may reach beyond it, or have no area.
        labels: int64 (M,), index into the classes of the data set.
        areas: float64 (M,), area of each object in square px, as the label file says it, else of the box.
        ignored: bool (M,), COCO's crowds and VOC's difficult objects: not to be found, and detections in them do not
            count.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    ignored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, which: NDArray[np.bool_]) -> Objects:
        """The objects at the positions that are true in `which`, bool (M,)."""
        return Objects(self.boxes[which], self.labels[which], self.areas[which], self.ignored[which])

    @property
    def wanted(self) -> Objects:
        """The objects that are to be found: those that are not ignored."""
        return self.some(~self.ignored)


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, its boxes for training, and its objects for the scorer.

    Attributes:
        image: path of the image, or the pixels themselves, uint8 (H, W, 3) RGB.
        size: (width, height) in px.
        boxes: float32 (N, 4), xyxy in px, inside the image, positive area.
        labels: int64 (N,), index into the classes of the data set.
        name: name in messages and files, e.g. "BloodImage_00338.jpg".
        written: the objects as the label file has them; None: they are the boxes.
        key: id of the image in the label file; None if it has none.
    """

    image: Path | NDArray[np.uint8]
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    name: str = ""
    written: Objects | None = None
    key: Key | None = None

    @property
    def truth(self) -> Objects:
        """What detections are scored against."""
        if self.written is not None:
            return self.written
        boxes = np.asarray(self.boxes, np.float64).reshape(-1, 4)
        return Objects(boxes, self.labels, areas_of(boxes), np.zeros(len(boxes), np.bool_))


def areas_of(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas (N,) of xyxy boxes (N, 4), in square px; an inverted box has area 0."""
    return np.asarray(np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0.0, None), axis=1))


@dataclass(frozen=True)
class DataSet:
    """A split of a data set.

    Attributes:
        source: the data set as the user named it (`data.yaml`, a folder, `builtin:shapes`).
        split: "train" or "val".
        classes: names, position = label.
        samples: usable images; an image without boxes is kept as background.
        faults: kind of fault (e.g. "zero-area box") -> count.
        examples: kind of fault -> some examples.
        digest: hex hash of file names, sizes in px and in bytes, boxes and labels: two runs on equal data have equal
            digests.
        category_ids: class name -> its id in the label file; empty if it has none.
    """

    source: str
    split: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    category_ids: Mapping[str, Key] = field(default_factory=dict)
