"""A detector and pictures small enough to train in seconds."""

from __future__ import annotations

import numpy as np
import torch

from effscope.data.sample import DataSet, Sample
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.training.assign import Truth

CLASSES = ("red", "blue")
COLOURS = ((220, 30, 30), (30, 30, 220))


def small_network(seed: int = 0) -> Network:
    """yolov8n for two classes."""
    return build(expand(layout("yolov8n", len(CLASSES))), seed)


def coloured_squares(n: int, split: str = "train", seed: int = 0) -> DataSet:
    """Noisy grey pictures of 96x64 px with one to three coloured boxes of 14-34 px."""
    random = np.random.default_rng(seed)
    samples = []
    for k in range(n):
        pixels = random.integers(90, 130, (64, 96, 3), dtype=np.uint8)
        boxes, labels = [], []
        for _ in range(random.integers(1, 4)):
            w, h = random.integers(14, 34, 2)
            x, y = random.integers(0, 96 - w), random.integers(0, 64 - h)
            label = int(random.integers(0, 2))
            pixels[y : y + h, x : x + w] = COLOURS[label]
            boxes.append((x, y, x + w, y + h))
            labels.append(label)
        boxes_array = np.array(boxes, np.float32)
        samples.append(Sample(pixels, (96, 64), boxes_array, np.array(labels, np.int64), f"{split}{k}"))
    return DataSet("made", split, CLASSES, tuple(samples), digest=f"{n}{split}{seed}")


def random_truth(generator: torch.Generator, images: int, most: int, nc: int, imgsz: int) -> Truth:
    """Random boxes, sides 2 px to nearly the picture; picture 0 has none."""
    counts = torch.randint(1, most + 1, (images,), generator=generator)
    counts[0] = 0
    valid = torch.arange(most)[None] < counts[:, None]
    side = (torch.rand(images, most, 2, generator=generator) ** 2 * imgsz * 0.9).clamp(min=2)
    corner = torch.rand(images, most, 2, generator=generator) * (imgsz - side)
    boxes = torch.cat((corner, corner + side), -1) * valid[..., None]
    labels = torch.randint(0, nc, (images, most), generator=generator) * valid
    return Truth(boxes, labels, valid)


def random_levels(
    generator: torch.Generator, images: int, nc: int, imgsz: int, sharp: float = 1.0
) -> list[torch.Tensor]:
    """Raw outputs of a head whose boxes are peaked at small distances, so that some meet the truth."""
    levels = []
    for stride in (8, 16, 32):
        cells = imgsz // stride
        level = torch.randn(images, 64 + nc, cells, cells, generator=generator) * sharp
        level[:, :64] -= torch.arange(16).repeat(4)[None, :, None, None] * 0.5
        level[:, 64:] -= 2
        levels.append(level)
    return levels
