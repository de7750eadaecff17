"""Training batches from pictures that are decoded once and kept in memory at training size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from effscope.config import Recipe
from effscope.data.read import read_image
from effscope.data.sample import DataSet
from effscope.detect.assign import Truth
from effscope.detect.augment import (
    Draws,
    arrange,
    colour,
    colour_matrices,
    flip,
    move_boxes,
    paint,
    still,
)
from effscope.detect.letterbox import letterbox, resize
from effscope.errors import EffscopeError
from effscope.progress import Progress


@dataclass(frozen=True)
class Bank:
    """A split in memory.

    Attributes:
        pictures: uint8 (h, w, 3) RGB each, scaled so that the long side is `imgsz`, not padded.
        boxes: float32 (n, 4) each, xyxy in px of the scaled picture.
        labels: int64 (n,) each.
        imgsz: training size in px.
        left_out: pictures that could not be decoded, with the reason.
    """

    pictures: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    imgsz: int
    left_out: tuple[str, ...] = ()

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of the scaled pictures in px."""
        return tuple((picture.shape[1], picture.shape[0]) for picture in self.pictures)


@dataclass(frozen=True)
class Batch:
    """Pictures as the network takes them, float32 (B, 3, imgsz, imgsz) within 0-1, and their true boxes."""

    images: Tensor
    truth: Truth
    indices: tuple[int, ...]


def limited(dataset: DataSet, limit: int | None) -> DataSet:
    """At most `limit` samples, evenly spread over the split: the same ones for every seed."""
    n = len(dataset.samples)
    if limit is None or limit >= n:
        return dataset
    return replace(dataset, samples=tuple(dataset.samples[i * n // limit] for i in range(limit)))


def load_bank(dataset: DataSet, imgsz: int, progress: Progress | None = None) -> Bank:
    """Decode and scale every picture of a split.

    Raises:
        EffscopeError: not one picture could be decoded.
    """
    pictures, boxes, labels, left_out = [], [], [], []
    for position, sample in enumerate(dataset.samples):
        if progress:
            progress(position / len(dataset.samples), f"reading images {position}/{len(dataset.samples)}")
        try:
            image = read_image(sample)
        except (OSError, ValueError, EffscopeError) as error:
            left_out.append(f"{sample.image}: {error}")
            continue
        fit = letterbox((image.shape[1], image.shape[0]), imgsz)
        scaled = resize(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), fit.resized)
        pictures.append(scaled.permute(1, 2, 0).contiguous())
        boxes.append(
            replace(fit, pad=(0, 0)).forward(torch.from_numpy(np.asarray(sample.boxes, np.float32)).view(-1, 4))
        )
        labels.append(torch.from_numpy(np.asarray(sample.labels, np.int64)).reshape(-1))
    if not pictures:
        why = f", e.g. {left_out[0]}" if left_out else ""
        raise EffscopeError(f"no picture of '{dataset.source}' ({dataset.split}) can be read{why}")
    return Bank(tuple(pictures), tuple(boxes), tuple(labels), imgsz, tuple(left_out))


def epoch_order(n: int, batch: int, generator: torch.Generator) -> list[list[int]]:
    """Indices 0..n-1 shuffled and cut into batches; the last may be smaller."""
    order = torch.randperm(n, generator=generator).tolist()
    return [order[start : start + batch] for start in range(0, n, batch)]


def training_batch(bank: Bank, indices: Sequence[int], recipe: Recipe, draws: Draws, device: torch.device) -> Batch:
    """One augmented batch of the pictures `indices`, on `device`."""
    plan = arrange(indices, bank.sizes, bank.imgsz, recipe, draws)
    images, plan = paint(plan, bank.pictures, bank.imgsz)
    boxes, labels, owner = move_boxes(plan, bank.boxes, bank.labels, bank.imgsz)
    n = len(indices)
    for axis, chance in enumerate((recipe.flip_lr, recipe.flip_ud)):
        chosen = torch.rand(n, generator=draws.generator) < chance
        images, boxes = flip(images, boxes, owner, chosen, axis)
    matrices = colour_matrices(n, recipe, draws)
    truth = padded(boxes, labels, owner, n)
    return Batch(colour(images.to(device), matrices.to(device)), truth.to(device), tuple(indices))


def plain_batch(bank: Bank, indices: Sequence[int], device: torch.device) -> Batch:
    """One batch of the pictures `indices` without augmentation, letterboxed to a square."""
    images, plan = paint(still(indices, bank.sizes, bank.imgsz), bank.pictures, bank.imgsz)
    truth = padded(*move_boxes(plan, bank.boxes, bank.labels, bank.imgsz), len(indices))
    return Batch(colour(images.to(device), None), truth.to(device), tuple(indices))


def batches(
    bank: Bank, batch: int, recipe: Recipe, generator: torch.Generator, device: torch.device
) -> Iterator[Batch]:
    """One epoch of augmented batches, order and augmentation fixed by the generator."""
    for indices in epoch_order(len(bank.pictures), batch, generator):
        yield training_batch(bank, indices, recipe, Draws(generator), device)


def padded(boxes: Tensor, labels: Tensor, owner: Tensor, n: int) -> Truth:
    """Boxes of a batch of n pictures side by side.

    Args:
        boxes: (N, 4) xyxy px.
        labels: int64 (N,).
        owner: int64 (N,), position in the batch, ascending.
        n: pictures in the batch.
    """
    counts = torch.bincount(owner, minlength=n)
    widest = max(int(counts.max()), 1)
    slot = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    all_boxes, all_labels = torch.zeros(n, widest, 4), torch.zeros(n, widest, dtype=torch.int64)
    all_boxes[owner, slot], all_labels[owner, slot] = boxes, labels
    return Truth(all_boxes, all_labels, torch.arange(widest)[None] < counts[:, None])
