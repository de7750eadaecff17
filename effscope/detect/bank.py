"""The images of a split, decoded once and stored at training size: in memory, or mapped from a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effscope.data.check import Broken, none_readable, without
from effscope.data.read import read_image
from effscope.data.record import spread_positions
from effscope.data.sample import DataSet, Sample
from effscope.detect.letterbox import Letterbox, letterbox, resize
from effscope.errors import EffscopeError
from effscope.progress import Progress

MOST_IN_MEMORY = 4 << 30
"""Maximum bytes of images in memory; a larger bank is mapped from a temporary file (in TMPDIR)."""

MOST_READERS = 8
"""Number of decoding threads; decoding releases Python's lock."""


@dataclass(frozen=True)
class Bank:
    """A split at training size.

    Attributes:
        dataset: the decoded images; its faults count the others.
        images: uint8 (h, w, 3) RGB each; the long side is `imgsz`, without padding.
        boxes: float32 (n, 4) each, xyxy in px of the scaled image.
        labels: int64 (n,) each.
        imgsz: training size in px.
    """

    dataset: DataSet
    images: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    imgsz: int

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the scaled images in px."""
        return tuple((image.shape[1], image.shape[0]) for image in self.images)


@dataclass(frozen=True)
class Banks:
    """The two splits of a training."""

    train: Bank
    val: Bank


def limited(dataset: DataSet, limit: int | None) -> DataSet:
    """At most `limit` samples, spread evenly over the split, without randomness."""
    if limit is None or limit >= len(dataset.samples):
        return dataset
    return replace(dataset, samples=tuple(dataset.samples[k] for k in spread_positions(len(dataset.samples), limit)))


def limited_bank(bank: Bank, limit: int | None) -> Bank:
    """At most `limit` images of a bank, spread evenly over it."""
    if limit is None or limit >= len(bank.images):
        return bank
    spread = spread_positions(len(bank.images), limit)
    images, boxes, labels = (tuple(field[k] for k in spread) for field in (bank.images, bank.boxes, bank.labels))
    return Bank(limited(bank.dataset, limit), images, boxes, labels, bank.imgsz)


def load_bank(
    dataset: DataSet, imgsz: int, progress: Progress | None = None, most_in_memory: int = MOST_IN_MEMORY
) -> Bank:
    """Decode and scale every image of a split.

    Args:
        dataset: the split.
        imgsz: long side of the scaled images in px.
        progress: called with the fraction done and a text.
        most_in_memory: bytes above which the bank is mapped from a file.

    Raises:
        EffscopeError: no image can be decoded.
    """
    fits = [letterbox(sample.size, imgsz) for sample in dataset.samples]
    arrays = _arrays(fits, most_in_memory)
    n, broken = len(fits), dict[int, Broken]()
    with ThreadPoolExecutor(min(MOST_READERS, os.cpu_count() or 1)) as pool:
        for position, fault in enumerate(pool.map(_read_into, dataset.samples, fits, arrays)):
            if progress:
                progress((position + 1) / n, f"reading images {position + 1}/{n}")
            if fault is not None:
                broken[position] = fault
    kept = [k for k in range(n) if k not in broken]
    if not kept:
        raise none_readable(dataset, broken)
    readable = without(dataset, broken)
    return Bank(
        dataset=readable,
        images=tuple(torch.from_numpy(arrays[k]) for k in kept),
        boxes=tuple(_scaled(dataset.samples[k], fits[k]) for k in kept),
        labels=tuple(torch.from_numpy(np.asarray(s.labels, np.int64)).reshape(-1) for s in readable.samples),
        imgsz=imgsz,
    )


def bank_inputs(bank: Bank, stride: int, margin: float = 0.0) -> Iterator[tuple[Letterbox, Tensor]]:
    """Letterbox and scaled pixels, uint8 (3, h, w), of every image; arguments as in `letterbox`."""
    for sample, image in zip(bank.dataset.samples, bank.images, strict=True):
        yield letterbox(sample.size, bank.imgsz, stride, margin), image.permute(2, 0, 1)


def _arrays(fits: Sequence[Letterbox], most_in_memory: int) -> list[NDArray[np.uint8]]:
    """Memory for every scaled image, uint8 (h, w, 3) each, consecutive in one array."""
    shapes = [(fit.resized[1], fit.resized[0], 3) for fit in fits]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes], dtype=np.int64)
    memory: NDArray[np.uint8]
    if len(ends) and ends[-1] > most_in_memory:
        memory = _mapped(int(ends[-1]))
    else:
        memory = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    parts = np.split(memory, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] if len(ends) else []


def _mapped(size: int) -> NDArray[np.uint8]:
    """A file of `size` bytes as an array; the file has no name and is deleted with the array."""
    with tempfile.TemporaryFile(prefix="effscope-bank-") as file:
        try:
            if hasattr(os, "posix_fallocate"):  # without it, a full disk kills the process while it writes
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise EffscopeError(
                f"the images need {size / 2**30:.1f} GiB in {tempfile.gettempdir()} ({error.strerror}): "
                "set TMPDIR to a folder with enough space, or give a smaller `imgsz`"
            ) from None
        return np.memmap(file, np.uint8, "r+", shape=(size,))


def _read_into(sample: Sample, fit: Letterbox, target: NDArray[np.uint8]) -> Broken | None:
    """Decode and scale one image into `target`; returns what is wrong if it cannot be decoded."""
    try:
        image = torch.from_numpy(np.ascontiguousarray(read_image(sample)))
        target[...] = resize(image.permute(2, 0, 1), fit.resized).permute(1, 2, 0).numpy()
    except (OSError, ValueError, EffscopeError) as error:
        return Broken.by(error)
    return None


def _scaled(sample: Sample, fit: Letterbox) -> Tensor:
    boxes = torch.from_numpy(np.asarray(sample.boxes, np.float32)).view(-1, 4)
    return replace(fit, pad=(0, 0)).forward(boxes)
