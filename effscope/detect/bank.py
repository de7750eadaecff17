"""The pictures of a split, decoded once and kept at the size a detector sees them: in memory, or mapped from a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effscope.data.read import read_image
from effscope.data.sample import DataSet, Sample
from effscope.detect.letterbox import Letterbox, letterbox, resize
from effscope.errors import EffscopeError
from effscope.progress import Progress

MOST_IN_MEMORY = 4 << 30
"""Bytes of pictures kept in memory; a larger bank lies in a temporary file (in TMPDIR) and is mapped."""

MOST_READERS = 8
"""Threads that decode; decoding lets go of Python's lock."""


@dataclass(frozen=True)
class Bank:
    """A split at training size.

    Attributes:
        dataset: the pictures that could be decoded.
        pictures: uint8 (h, w, 3) RGB each, scaled so that the long side is `imgsz`, not padded.
        boxes: float32 (n, 4) each, xyxy in px of the scaled picture.
        labels: int64 (n,) each.
        imgsz: training size in px.
        readable: position in the given split of each picture.
        left_out: pictures that could not be decoded, with the reason.
    """

    dataset: DataSet
    pictures: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    imgsz: int
    readable: tuple[int, ...]
    left_out: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the scaled pictures in px."""
        return tuple((picture.shape[1], picture.shape[0]) for picture in self.pictures)


def limited(dataset: DataSet, limit: int | None) -> DataSet:
    """At most `limit` samples, evenly spread over the split: the same ones for every seed."""
    n = len(dataset.samples)
    if limit is None or limit >= n:
        return dataset
    return replace(dataset, samples=tuple(dataset.samples[i * n // limit] for i in range(limit)))


def load_bank(
    dataset: DataSet, imgsz: int, progress: Progress | None = None, most_in_memory: int = MOST_IN_MEMORY
) -> Bank:
    """Decode and scale every picture of a split.

    Args:
        dataset: the split.
        imgsz: long side of the scaled pictures in px.
        progress: told the fraction done and a text.
        most_in_memory: bytes above which the bank is mapped from a file.

    Raises:
        EffscopeError: not one picture could be decoded.
    """
    fits = [letterbox(sample.size, imgsz) for sample in dataset.samples]
    places = _places(fits, most_in_memory)
    n, readable, left_out = len(fits), [], []
    threads = min(MOST_READERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        faults = pool.map(_read_into, dataset.samples, fits, places)
        for position, fault in enumerate(faults):
            if progress:
                progress(position / n, f"reading images {position}/{n}")
            if fault is None:
                readable.append(position)
            else:
                left_out.append(fault)
    if not readable:
        why = f", e.g. {left_out[0]}" if left_out else ""
        raise EffscopeError(f"no picture of '{dataset.source}' ({dataset.split}) can be read{why}")
    samples = tuple(dataset.samples[k] for k in readable)
    return Bank(
        dataset=replace(dataset, samples=samples),
        pictures=tuple(torch.from_numpy(places[k]) for k in readable),
        boxes=tuple(_scaled(dataset.samples[k], fits[k]) for k in readable),
        labels=tuple(torch.from_numpy(np.asarray(s.labels, np.int64)).reshape(-1) for s in samples),
        imgsz=imgsz,
        readable=tuple(readable),
        left_out=tuple(left_out),
    )


def bank_inputs(bank: Bank, stride: int) -> Iterator[tuple[Letterbox, Tensor]]:
    """Every picture's letterbox (sides padded to a multiple of `stride`) and its scaled pixels, uint8 (3, h, w)."""
    for sample, picture in zip(bank.dataset.samples, bank.pictures, strict=True):
        yield letterbox(sample.size, bank.imgsz, stride), picture.permute(2, 0, 1)


def _places(fits: Sequence[Letterbox], most_in_memory: int) -> list[NDArray[np.uint8]]:
    """Room for every scaled picture, uint8 (h, w, 3) each, side by side in one array."""
    shapes = [(fit.resized[1], fit.resized[0], 3) for fit in fits]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes], dtype=np.int64)
    room: NDArray[np.uint8]
    if len(ends) and ends[-1] > most_in_memory:
        with tempfile.TemporaryFile(prefix="effscope-bank-") as file:  # unlinked; the map keeps it until it is let go
            room = np.memmap(file, np.uint8, "w+", shape=(int(ends[-1]),))
    else:
        room = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    parts = np.split(room, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] if len(ends) else []


def _read_into(sample: Sample, fit: Letterbox, place: NDArray[np.uint8]) -> str | None:
    """Decode and scale one picture; what is wrong with it, if it cannot be decoded."""
    try:
        image = torch.from_numpy(np.ascontiguousarray(read_image(sample)))
        place[...] = resize(image.permute(2, 0, 1), fit.resized).permute(1, 2, 0).numpy()
    except (OSError, ValueError, EffscopeError) as error:
        return f"{sample.image}: {error}"
    return None


def _scaled(sample: Sample, fit: Letterbox) -> Tensor:
    boxes = torch.from_numpy(np.asarray(sample.boxes, np.float32)).view(-1, 4)
    return replace(fit, pad=(0, 0)).forward(boxes)
