"""One image with its boxes, and a set of them. Frozen; pixels are read when asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its ground truth.

    Attributes:
        image: path of the picture, or the pixels themselves, uint8 (H, W, 3) RGB.
        size: (width, height) in px.
        boxes: float32 (N, 4), xyxy in px, inside the image, positive area.
        labels: int64 (N,), index into the set's classes.
        name: what to call it in messages and files, e.g. "BloodImage_00338.jpg".
    """

    image: Path | NDArray[np.uint8]
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    name: str = ""


@dataclass(frozen=True)
class DataSet:
    """A split of a data set.

    Attributes:
        source: what the user named (`data.yaml`, a folder, `builtin:shapes`).
        split: "train" or "val".
        classes: names, position = label.
        samples: usable images; an image without boxes is kept as background.
        faults: what was wrong, kind -> count (e.g. "zero-area box"), and for each kind some examples.
        digest: hex hash over file names, sizes, boxes and labels: two runs on equal data have equal digests.
    """

    source: str
    split: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
