"""Dummy outputs of a detection head: the input of post-processing for an image with a given number of objects.

The numbers of candidates are those of yolov8n with COCO weights on 12 images of another domain at 640 px: 600 of 8400
boxes (7 %) have a class score above .001, in about 3 classes each. A detected object has 1 to 15 candidates above .25.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effscope.detect.boxes import xywh_to_xyxy
from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError

NOISY_BOXES, NOISY_CLASSES = 0.07, 3
"""Share of background boxes with noisy scores, and the number of noisy classes of each."""

FLOOR, NOISE = 1e-5, (1e-3, 0.1)
"""Score of all other entries, and range of the noisy scores (log-uniform)."""

MAX_CANDIDATES = 15
"""Number of candidates of one object."""

BEST, OTHERS = 0.9, (0.3, 0.85)
"""Score of an object's best candidate, and score range of its other candidates."""

SUPPRESSED = 0.05
"""For a one-to-one head, the scores of the other candidates are multiplied by this."""

JITTER = 0.05
"""Largest error of centre and sides of the other candidates, relative to the object's side: IoU is .8 or more."""


def decoded(n_objects: int, n_boxes: int, n_classes: int, side: int, box_format: str, seed: int = 0) -> Tensor:
    """Decoded output of a head on an image with objects that do not overlap.

    The positions of an object's candidates among all boxes are random: post-processing uses only boxes and scores.

    Args:
        n_objects: objects in the image.
        n_boxes: A, boxes of the head.
        n_classes: C, classes of the head.
        side: side of the image in px.
        box_format: "xywh": several candidates with high scores for each object; "xyxy" (one-to-one head): only one.
        seed: seed of all random numbers.

    Returns:
        float32 (1, 4 + C, A).

    Raises:
        EffscopeError: more objects than boxes.
    """
    if n_objects > n_boxes:
        raise EffscopeError(f"a head with {n_boxes} boxes at {side} px cannot find {n_objects} objects")
    random = torch.Generator().manual_seed(seed)
    rows = _background(n_boxes, n_classes, side, random)
    if n_objects:
        taken, found = _candidates(n_objects, n_boxes, n_classes, side, box_format, random)
        rows[taken] = found
    if box_format != CENTRED:
        rows[:, :4] = xywh_to_xyxy(rows[:, :4])
    return rows.T[None].contiguous()


def _background(n_boxes: int, n_classes: int, side: int, random: torch.Generator) -> Tensor:
    """Rows (A, 4 + C) of an image without objects."""
    boxes = torch.rand(n_boxes, 4, generator=random) * torch.tensor([1.0, 1.0, 0.3, 0.3]) * side
    scores = torch.full((n_boxes, n_classes), FLOOR)
    noisy = torch.randperm(n_boxes, generator=random)[: round(NOISY_BOXES * n_boxes)]
    low, high = (math.log(limit) for limit in NOISE)
    for _ in range(NOISY_CLASSES):
        label = torch.randint(n_classes, (len(noisy),), generator=random)
        scores[noisy, label] = torch.exp(low + (high - low) * torch.rand(len(noisy), generator=random))
    return torch.cat((boxes, scores), 1)


def _candidates(
    n: int, n_boxes: int, n_classes: int, side: int, box_format: str, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions among all boxes, and rows (., 4 + C), of the candidates of n objects. Each object has a grid cell."""
    cells = math.ceil(math.sqrt(n))
    cell = torch.randperm(cells * cells, generator=random)[:n]
    centre = (torch.stack((cell % cells, cell // cells), 1) + 0.5) * side / cells
    objects = torch.cat((centre, (0.4 + 0.4 * torch.rand(n, 2, generator=random)) * side / cells), 1)
    repeats = torch.randint(1, min(MAX_CANDIDATES, n_boxes // n) + 1, (n,), generator=random)
    owner = torch.arange(n).repeat_interleave(repeats)
    best = repeats.cumsum(0) - repeats
    jitter = JITTER * (2 * torch.rand(len(owner), 4, generator=random) - 1)
    score = OTHERS[0] + (OTHERS[1] - OTHERS[0]) * torch.rand(len(owner), generator=random)
    score = score if box_format == CENTRED else SUPPRESSED * score
    jitter[best], score[best] = 0.0, BEST
    boxes = objects[owner] + jitter * objects[owner][:, 2:].repeat(1, 2)
    scores = torch.full((len(owner), n_classes), FLOOR)
    scores[torch.arange(len(owner)), torch.randint(n_classes, (n,), generator=random)[owner]] = score
    return torch.randperm(n_boxes, generator=random)[: len(owner)], torch.cat((boxes, scores), 1)
