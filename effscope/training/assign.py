"""Task-aligned assignment of anchor points to ground-truth boxes, with soft targets.

An anchor point inside a box can learn this box. Of these points, the k with the greatest score^alpha * overlap^beta
learn it. Sources: TOOD (arXiv 2108.07755); YOLOv10 (arXiv 2405.14458) for one-to-one (k = 1). Equal to YOLOv8 in
Ultralytics 8.4: the overlap is CIoU, negative values set to zero; to find the points inside, sides shorter than the
middle stride are widened to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from effscope.detect.boxes import ciou, xywh_to_xyxy, xyxy_to_xywh

_EPS = 1e-9


@dataclass(frozen=True)
class Truth:
    """Ground-truth boxes of a batch, padded to the same number in every image.

    Attributes:
        boxes: float32 (B, M, 4) xyxy in px of the network input.
        labels: int64 (B, M), 0 where padded.
        valid: bool (B, M), false where padded.
    """

    boxes: Tensor
    labels: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> Truth:
        """Copy to another device."""
        return Truth(self.boxes.to(device), self.labels.to(device), self.valid.to(device))


@dataclass(frozen=True)
class Assignment:
    """The targets of the anchor points. P points learn one box each; the others learn background.

    Attributes:
        image: int64 (P,), position of the point's image in the batch, ascending.
        point: int64 (P,), index of the anchor point.
        box: int64 (P,), index of its ground-truth box, along M.
        strength: float32 (P,), its soft class target, 0-1.
        scores: float32 (B, A, C), the soft targets of all classes, zero for background.
    """

    image: Tensor
    point: Tensor
    box: Tensor
    strength: Tensor
    scores: Tensor

    @property
    def positive(self) -> Tensor:
        """Bool (B, A), points that learn a box."""
        chosen = torch.zeros(self.scores.shape[:2], dtype=torch.bool, device=self.scores.device)
        chosen[self.image, self.point] = True
        return chosen


@dataclass(frozen=True)
class AssignRule:
    """How boxes are assigned.

    Attributes:
        topk: number of points per box.
        alpha: exponent of the class score.
        beta: exponent of the overlap.
        least_side: px; shorter sides are widened to it to find the points inside.
    """

    topk: int = 10
    alpha: float = 0.5
    beta: float = 6.0
    least_side: float = 16.0


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, points: Tensor, truth: Truth, rule: AssignRule) -> Assignment:
    """Assign the ground-truth boxes of a batch to anchor points.

    Args:
        scores: (B, A, C) predicted class probabilities.
        boxes: (B, A, 4) predicted xyxy in px.
        points: (A, 2) anchor points, x, y in px.
        truth: the ground-truth boxes.
        rule: the assignment rule.
    """
    inside = _points_inside(points, truth, rule.least_side)
    metric, overlap = _metric(scores, boxes, truth, inside, rule)
    taken = _one_box_each(_best(metric, rule.topk) & inside, overlap)
    image, box, point = taken.nonzero(as_tuple=True)
    chosen = image, box, point
    strength = _strength(metric[chosen], overlap[chosen], image * truth.labels.shape[1] + box, truth.labels.numel())
    soft = torch.zeros_like(scores, dtype=torch.float32)
    soft[image, point, truth.labels[image, box]] = strength
    return Assignment(image, point, box, strength, soft)


def _points_inside(points: Tensor, truth: Truth, least_side: float) -> Tensor:
    """Bool (B, M, A): the point is strictly inside the valid box, with sides of at least `least_side` px."""
    sized = xyxy_to_xywh(truth.boxes)
    sized[..., 2:].clamp_(min=least_side)
    widened = xywh_to_xyxy(sized)[:, :, None]  # (B, M, 1, 4)
    x, y = points[:, 0], points[:, 1]
    inside = (x - widened[..., 0] > _EPS) & (widened[..., 2] - x > _EPS)
    inside &= (y - widened[..., 1] > _EPS) & (widened[..., 3] - y > _EPS)
    return inside & truth.valid[..., None]


def _metric(scores: Tensor, boxes: Tensor, truth: Truth, inside: Tensor, rule: AssignRule) -> tuple[Tensor, Tensor]:
    """Alignment and overlap, float32 (B, M, A) each. Only points inside a box are computed; the others are zero."""
    image, box, point = inside.nonzero(as_tuple=True)
    score = scores[image, point, truth.labels[image, box]].float()
    overlap = ciou(truth.boxes[image, box], boxes[image, point]).clamp(min=0)
    aligned = torch.zeros(inside.shape, device=scores.device)
    overlaps = torch.zeros_like(aligned)
    aligned[image, box, point] = score.pow(rule.alpha) * overlap.pow(rule.beta)
    overlaps[image, box, point] = overlap
    return aligned, overlaps


def _best(metric: Tensor, topk: int) -> Tensor:
    """Bool (B, M, A): the k greatest of each row."""
    index = metric.topk(min(topk, metric.shape[-1]), dim=-1, sorted=False).indices
    return torch.zeros_like(metric, dtype=torch.bool).scatter_(-1, index, True)


def _one_box_each(taken: Tensor, overlap: Tensor) -> Tensor:
    """If several boxes took a point, it goes to the one with the greatest overlap of all boxes."""
    image, point = (taken.sum(1) > 1).nonzero(as_tuple=True)
    winner = overlap[image, :, point].argmax(1)
    taken[image, :, point] = False
    taken[image, winner, point] = True
    return taken


def _strength(metric: Tensor, overlap: Tensor, row: Tensor, rows: int) -> Tensor:
    """Soft targets (P,): alignment, scaled per box so that its maximum equals the box's greatest overlap.

    Args:
        metric: (P,) alignment of the chosen pairs.
        overlap: (P,) overlap of the chosen pairs.
        row: int64 (P,), index of the pair's box among the `rows` boxes of the batch.
        rows: B * M.
    """
    most_aligned, most_overlap = (
        torch.zeros(rows, device=row.device).scatter_reduce(0, row, values, "amax") for values in (metric, overlap)
    )
    return metric * (most_overlap[row] / (most_aligned[row] + _EPS))
