"""An image with its boxes, and a data set. Both are frozen; `read_image` reads the pixels later."""

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
        image: path of the image, or the pixels themselves, uint8 (H, W, 3) RGB.
        size: (width, height) in px.
        boxes: float32 (N, 4), xyxy in px, inside the image, positive area.
        labels: int64 (N,), index into the classes of the data set.
        name: name in messages and files, e.g. "BloodImage_00338.jpg".
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
        source: the data set as the user named it (`data.yaml`, a folder, `builtin:shapes`).
        split: "train" or "val".
        classes: names, position = label.
        samples: usable images; an image without boxes is kept as background.
        faults: kind of fault (e.g. "zero-area box") -> count.
        examples: kind of fault -> some examples.
        digest: hex hash of file names, sizes in px and in bytes, boxes and labels: two runs on equal data have equal
            digests.
    """

    source: str
    split: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
