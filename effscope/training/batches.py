"""Training batches from a bank of images: augmented, seeded, divided among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread
from typing import TypeVar

import torch
from torch import Tensor

from effscope.detect.bank import Bank
from effscope.recipes import Recipe
from effscope.training.assign import Truth
from effscope.training.augment import (
    Draws,
    Plan,
    arrange,
    colour,
    colour_matrices,
    flip,
    move_boxes,
    paint,
    unaugmented,
)

T = TypeVar("T")
ALL = slice(None)


@dataclass(frozen=True)
class Batch:
    """Training images in CPU memory.

    Attributes:
        images: uint8 (B, imgsz, imgsz, 3) RGB, this process's share of the batch.
        matrices: float32 (B, 3, 3), the colour change of each image; None for no change.
        truth: the ground-truth boxes of these images.
        indices: positions in the bank of the whole batch, over all processes.
    """

    images: Tensor
    matrices: Tensor | None
    truth: Truth
    indices: tuple[int, ...]

    def pixels(self, device: torch.device) -> Tensor:
        """Input of the network on a device: float32 (B, 3, imgsz, imgsz) within 0-1, channels last."""
        return colour(self.images.to(device), None if self.matrices is None else self.matrices.to(device))

    def parts(self, n: int) -> list[Batch]:
        """The share, divided into at most `n` parts of nearly equal size."""
        size = max(-(-len(self.images) // n), 1)
        cuts = [slice(start, start + size) for start in range(0, len(self.images), size)]
        truth, colours = self.truth, self.matrices
        return [
            Batch(
                self.images[cut],
                None if colours is None else colours[cut],
                Truth(truth.boxes[cut], truth.labels[cut], truth.valid[cut]),
                self.indices,
            )
            for cut in cuts
        ]


def epoch_order(n: int, batch: int, generator: torch.Generator) -> list[list[int]]:
    """Indices 0..n-1, shuffled and divided into batches; the last may be smaller."""
    order = torch.randperm(n, generator=generator).tolist()
    return [order[start : start + batch] for start in range(0, n, batch)]


def training_batch(bank: Bank, indices: Sequence[int], recipe: Recipe, draws: Draws, share: slice = ALL) -> Batch:
    """One augmented batch of the images `indices`; this process makes only its `share`.

    Random numbers are drawn for the whole batch, so all shares together equal the batch of a single process.
    """
    return painted(bank, indices, recipe, drawn(bank, indices, recipe, draws), share)


@dataclass(frozen=True)
class Drawn:
    """The random choices of a batch: mosaics, scales and shifts; which images are mirrored; colour changes."""

    plan: Plan
    mirrored: tuple[Tensor, Tensor]
    matrices: Tensor


def drawn(bank: Bank, indices: Sequence[int], recipe: Recipe, draws: Draws) -> Drawn:
    """Draw the random choices of a batch of the images `indices`."""
    n, generator = len(indices), draws.generator
    plan = arrange(indices, bank.sizes, bank.imgsz, recipe, draws)
    sideways, upside_down = (torch.rand(n, generator=generator) < p for p in (recipe.flip_lr, recipe.flip_ud))
    return Drawn(plan, (sideways, upside_down), colour_matrices(n, recipe, draws))


def painted(bank: Bank, indices: Sequence[int], recipe: Recipe, choices: Drawn, share: slice = ALL) -> Batch:
    """This process's share of the batch with these choices."""
    images, plan = paint(choices.plan[share], bank.images, bank.imgsz)
    boxes, labels, owner = move_boxes(plan, bank.boxes, bank.labels, bank.imgsz, recipe)
    for axis, chosen in enumerate(choices.mirrored):
        images, boxes = flip(images, boxes, owner, chosen[share], axis)
    return Batch(images, choices.matrices[share], padded(boxes, labels, owner, len(plan)), tuple(indices))


def plain_batch(bank: Bank, indices: Sequence[int]) -> Batch:
    """One batch of the images `indices` without augmentation, letterboxed to a square."""
    images, plan = paint(unaugmented(indices, bank.sizes, bank.imgsz), bank.images, bank.imgsz)
    truth = padded(*move_boxes(plan, bank.boxes, bank.labels, bank.imgsz, Recipe()), len(indices))
    return Batch(images, None, truth, tuple(indices))


def batches(
    bank: Bank,
    batch: int,
    recipe: Recipe,
    generator: torch.Generator,
    share: Callable[[int], slice] = lambda _: ALL,
    skip: int = 0,
) -> Iterator[Batch]:
    """One epoch of augmented batches. The generator decides order and augmentation.

    Args:
        bank: the images.
        batch: images per batch, over all processes.
        recipe: augmentation.
        generator: on the CPU.
        share: number of images in a batch -> the slice that this process makes.
        skip: batches that are left out at the beginning; the others are as without it.
    """
    for n, indices in enumerate(epoch_order(len(bank.images), batch, generator)):
        choices = drawn(bank, indices, recipe, Draws(generator))
        if n >= skip:
            yield painted(bank, indices, recipe, choices, share(len(indices)))


def prefetched(source: Iterator[T], most: int = 2) -> Iterator[T]:
    """The same items in the same order; a thread makes up to `most` of them before they are used."""
    ready: Queue[T | BaseException | None] = Queue(most)
    stopped = Event()

    def put(item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except Full:
                continue

    def work() -> None:
        try:
            for item in source:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    worker = Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        worker.join()


def padded(boxes: Tensor, labels: Tensor, owner: Tensor, n: int) -> Truth:
    """Boxes of a batch of n images, padded to the same number per image.

    Args:
        boxes: (N, 4) xyxy px.
        labels: int64 (N,).
        owner: int64 (N,), position in the batch, ascending.
        n: images in the batch.
    """
    counts = torch.bincount(owner, minlength=n)
    widest = max(int(counts.max()), 1)
    slot = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    all_boxes, all_labels = torch.zeros(n, widest, 4), torch.zeros(n, widest, dtype=torch.int64)
    all_boxes[owner, slot], all_labels[owner, slot] = boxes, labels
    return Truth(all_boxes, all_labels, torch.arange(widest)[None] < counts[:, None])
