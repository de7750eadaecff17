"""The images of a split, decoded once and kept at the size a detector sees them: in memory, or mapped from a file."""

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

from effscope.data.check import none_readable, without
from effscope.data.read import read_image
from effscope.data.sample import DataSet, Sample
from effscope.detect.letterbox import Letterbox, letterbox, resize
from effscope.errors import EffscopeError
from effscope.progress import Progress

MOST_IN_MEMORY = 4 << 30
"""Bytes of images kept in memory; a larger bank lies in a temporary file (in TMPDIR) and is mapped."""

MOST_READERS = 8
"""Threads that decode; decoding lets go of Python's lock."""


@dataclass(frozen=True)
class Bank:
    """A split at training size.

    Attributes:
        dataset: the images that could be decoded; the others are counted in its faults.
        images: uint8 (h, w, 3) RGB each, scaled so that the long side is `imgsz`, not padded.
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
    """The two splits a training works on."""

    train: Bank
    val: Bank


def limited(dataset: DataSet, limit: int | None) -> DataSet:
    """At most `limit` samples, evenly spread over the split: the same ones for every seed."""
    spread = _spread(len(dataset.samples), limit)
    return dataset if spread is None else replace(dataset, samples=tuple(dataset.samples[k] for k in spread))


def limited_bank(bank: Bank, limit: int | None) -> Bank:
    """The same of a bank."""
    spread = _spread(len(bank.images), limit)
    if spread is None:
        return bank
    images, boxes, labels = (tuple(field[k] for k in spread) for field in (bank.images, bank.boxes, bank.labels))
    return Bank(limited(bank.dataset, limit), images, boxes, labels, bank.imgsz)


def _spread(n: int, limit: int | None) -> list[int] | None:
    """Positions evenly spread over n; none for all of them."""
    return None if limit is None or limit >= n else [k * n // limit for k in range(limit)]


def load_bank(
    dataset: DataSet, imgsz: int, progress: Progress | None = None, most_in_memory: int = MOST_IN_MEMORY
) -> Bank:
    """Decode and scale every image of a split.

    Args:
        dataset: the split.
        imgsz: long side of the scaled images in px.
        progress: told the fraction done and a text.
        most_in_memory: bytes above which the bank is mapped from a file.

    Raises:
        EffscopeError: not one image could be decoded.
    """
    fits = [letterbox(sample.size, imgsz) for sample in dataset.samples]
    places = _places(fits, most_in_memory)
    n, unreadable = len(fits), {}
    with ThreadPoolExecutor(min(MOST_READERS, os.cpu_count() or 1)) as pool:
        for position, fault in enumerate(pool.map(_read_into, dataset.samples, fits, places)):
            if progress:
                progress(position / n, f"reading images {position}/{n}")
            if fault is not None:
                unreadable[position] = fault
    kept = [k for k in range(n) if k not in unreadable]
    if not kept:
        raise none_readable(dataset, unreadable)
    readable = without(dataset, unreadable)
    return Bank(
        dataset=readable,
        images=tuple(torch.from_numpy(places[k]) for k in kept),
        boxes=tuple(_scaled(dataset.samples[k], fits[k]) for k in kept),
        labels=tuple(torch.from_numpy(np.asarray(s.labels, np.int64)).reshape(-1) for s in readable.samples),
        imgsz=imgsz,
    )


def bank_inputs(bank: Bank, stride: int, margin: float = 0.0) -> Iterator[tuple[Letterbox, Tensor]]:
    """Every image's letterbox and its scaled pixels, uint8 (3, h, w); arguments as in `letterbox`."""
    for sample, image in zip(bank.dataset.samples, bank.images, strict=True):
        yield letterbox(sample.size, bank.imgsz, stride, margin), image.permute(2, 0, 1)


def _places(fits: Sequence[Letterbox], most_in_memory: int) -> list[NDArray[np.uint8]]:
    """Room for every scaled image, uint8 (h, w, 3) each, side by side in one array."""
    shapes = [(fit.resized[1], fit.resized[0], 3) for fit in fits]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes], dtype=np.int64)
    room: NDArray[np.uint8]
    if len(ends) and ends[-1] > most_in_memory:
        room = _mapped(int(ends[-1]))
    else:
        room = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    parts = np.split(room, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] if len(ends) else []


def _mapped(size: int) -> NDArray[np.uint8]:
    """A file of `size` bytes as an array; the file has no name and goes when the array does."""
    with tempfile.TemporaryFile(prefix="effscope-bank-") as file:
        try:
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process while it writes
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise EffscopeError(
                f"the images need {size / 2**30:.1f} GiB in {tempfile.gettempdir()} ({error.strerror}): "
                "set TMPDIR to a place that has them, or give a smaller --imgsz"
            ) from None
        return np.memmap(file, np.uint8, "r+", shape=(size,))


def _read_into(sample: Sample, fit: Letterbox, place: NDArray[np.uint8]) -> str | None:
    """Decode and scale one image; what is wrong with it, if it cannot be decoded."""
    try:
        image = torch.from_numpy(np.ascontiguousarray(read_image(sample)))
        place[...] = resize(image.permute(2, 0, 1), fit.resized).permute(1, 2, 0).numpy()
    except (OSError, ValueError, EffscopeError) as error:
        return str(error)
    return None


def _scaled(sample: Sample, fit: Letterbox) -> Tensor:
    boxes = torch.from_numpy(np.asarray(sample.boxes, np.float32)).view(-1, 4)
    return replace(fit, pad=(0, 0)).forward(boxes)
