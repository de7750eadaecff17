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
class Regions:
    """Regions of an image with many objects of a class that are not labelled one by one (COCO: crowds).

    Attributes:
        boxes: float32 (M, 4), xyxy in px, inside the image, positive area.
        labels: int64 (M,), index into the classes of the data set.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its ground truth.

    Attributes:
        image: path of the image, or the pixels themselves, uint8 (H, W, 3) RGB.
        size: (width, height) in px.
        boxes: float32 (N, 4), xyxy in px, inside the image, positive area.
        labels: int64 (N,), index into the classes of the data set.
        name: name in messages and files, e.g. "BloodImage_00338.jpg".
        areas: float64 (N,), area of each object in square px, as the label file says it; None: the areas of the boxes.
        ignored: regions in which detections are not scored; None: no such region.
        key: id of the image in the label file; None if it has none.
    """

    image: Path | NDArray[np.uint8]
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    name: str = ""
    areas: NDArray[np.float64] | None = None
    ignored: Regions | None = None
    key: Key | None = None


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
