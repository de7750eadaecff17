"""Decoded outputs of a head, made up: what post-processing gets when a picture holds that many objects.

How many candidates there are is taken from the COCO-trained yolov8n on 12 pictures of another domain at 640 px: of 8400
boxes 600 (7 %) have a class above .001, some 3 classes each; an object found has 1 to 15 candidates above .25.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effscope.detect.boxes import xywh_to_xyxy
from effscope.detect.predict import CENTRED
from effscope.errors import EffscopeError

NOISY_BOXES, NOISY_CLASSES = 0.07, 3
"""Share of boxes that see something where nothing is, and in how many classes."""

SILENT, NOISE = 1e-5, (1e-3, 0.1)
"""Scores: of what sees nothing, and the range of the noise, uniform in its logarithm."""

MOST_CANDIDATES = 15
BEST, OTHERS = 0.9, (0.3, 0.85)
"""Scores of an object's best candidate and of its others."""

SUPPRESSED = 0.05
"""What a one-to-one head leaves of the scores of the others."""

JITTER = 0.05
"""How far sides and centres of the other candidates are off, in sides of the object: they overlap it by .8 or more."""


def decoded(n_objects: int, n_boxes: int, n_classes: int, side: int, box_format: str, seed: int = 0) -> Tensor:
    """A head's output on a picture with some objects that do not overlap.

    Which boxes of the output an object's candidates are is drawn at random: post-processing never asks for the places
    of anchor points, only for boxes and scores.

    Args:
        n_objects: in the picture.
        n_boxes, n_classes: A and C of the head.
        side: of the picture in px.
        box_format: "xywh": candidates about every object; "xyxy" (one-to-one): one each, the others silenced.
        seed: decides everything.

    Returns:
        float32 (1, 4 + C, A).

    Raises:
        EffscopeError: more objects than boxes.
    """
    if n_objects > n_boxes:
        raise EffscopeError(f"a head that gives {n_boxes} boxes at {side} px cannot find {n_objects} objects")
    random = torch.Generator().manual_seed(seed)
    rows = _background(n_boxes, n_classes, side, random)
    if n_objects:
        taken, found = _candidates(n_objects, n_boxes, n_classes, side, box_format, random)
        rows[taken] = found
    if box_format != CENTRED:
        rows[:, :4] = xywh_to_xyxy(rows[:, :4])
    return rows.T[None].contiguous()


def _background(n_boxes: int, n_classes: int, side: int, random: torch.Generator) -> Tensor:
    """Rows (A, 4 + C) of a picture without objects."""
    places = torch.rand(n_boxes, 4, generator=random) * torch.tensor([1.0, 1.0, 0.3, 0.3]) * side
    scores = torch.full((n_boxes, n_classes), SILENT)
    noisy = torch.randperm(n_boxes, generator=random)[: round(NOISY_BOXES * n_boxes)]
    low, high = (math.log(limit) for limit in NOISE)
    for _ in range(NOISY_CLASSES):
        label = torch.randint(n_classes, (len(noisy),), generator=random)
        scores[noisy, label] = torch.exp(low + (high - low) * torch.rand(len(noisy), generator=random))
    return torch.cat((places, scores), 1)


def _candidates(
    n: int, n_boxes: int, n_classes: int, side: int, box_format: str, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions among all boxes and rows (., 4 + C) of n objects, one to each cell of a grid."""
    cells = math.ceil(math.sqrt(n))
    cell = torch.randperm(cells * cells, generator=random)[:n]
    centre = (torch.stack((cell % cells, cell // cells), 1) + 0.5) * side / cells
    objects = torch.cat((centre, (0.4 + 0.4 * torch.rand(n, 2, generator=random)) * side / cells), 1)
    repeats = torch.randint(1, min(MOST_CANDIDATES, n_boxes // n) + 1, (n,), generator=random)
    owner = torch.arange(n).repeat_interleave(repeats)
    best = repeats.cumsum(0) - repeats
    jitter = JITTER * (2 * torch.rand(len(owner), 4, generator=random) - 1)
    score = OTHERS[0] + (OTHERS[1] - OTHERS[0]) * torch.rand(len(owner), generator=random)
    score = score if box_format == CENTRED else SUPPRESSED * score
    jitter[best], score[best] = 0.0, BEST
    boxes = objects[owner] + jitter * objects[owner][:, 2:].repeat(1, 2)
    scores = torch.full((len(owner), n_classes), SILENT)
    scores[torch.arange(len(owner)), torch.randint(n_classes, (n,), generator=random)[owner]] = score
    return torch.randperm(n_boxes, generator=random)[: len(owner)], torch.cat((boxes, scores), 1)
