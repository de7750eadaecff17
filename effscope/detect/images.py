"""Images of a training split as network inputs, to rank outputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from effscope.data.check import decodable, say_faults
from effscope.data.load import load
from effscope.data.read import read_image
from effscope.data.sample import DataSet
from effscope.detect.letterbox import letterbox, letterboxed
from effscope.progress import Progress, Say, silent


@dataclass(frozen=True)
class Images:
    """Images of a data set, read one by one during the iteration; can be iterated several times.

    Each item is one image, float32 (1, 3, imgsz, imgsz) RGB within 0-1, letterboxed to a square.
    """

    dataset: DataSet
    imgsz: int
    progress: Progress = silent

    def __len__(self) -> int:
        return len(self.dataset.samples)

    def __iter__(self) -> Iterator[Tensor]:
        for n, sample in enumerate(self.dataset.samples):
            self.progress(n / len(self), f"image {n + 1}/{len(self)}")
            image = torch.from_numpy(np.ascontiguousarray(read_image(sample))).permute(2, 0, 1)
            square = letterboxed(image, letterbox(sample.size, self.imgsz))
            yield square[None].to(memory_format=torch.channels_last).float().mul_(1 / 255)


def training_images(data: str, limit: int, imgsz: int, progress: Progress, say: Say) -> Images:
    """At most `limit` images, spread evenly over the training split; images that cannot be decoded are left out.

    Args:
        data: the data set, as in `load`.
        limit: maximum number of images.
        imgsz: side of the square in px.
        progress: called with the fraction done and a text, now and while the images are read.
        say: called with the faults of the data.

    Raises:
        EffscopeError: no such data, or no box left in these images.
    """
    dataset = decodable(load(data, "train", limit, progress=lambda _, text: progress(0.0, text)))
    say_faults(dataset, say)
    return Images(dataset, imgsz, progress)
