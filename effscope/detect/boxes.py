"""Box geometry in torch: formats, box distributions, overlaps.

Boxes are float tensors (..., 4). `xyxy` is left, top, right, bottom; `xywh` is centre x, centre y, width, height.
Units are px of the network's input unless a docstring says otherwise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 16
"""Bins of the distribution of one side's distance; the distance is the mean over 0..15, in strides."""

_EPS = 1e-7


def dfl_expectation(logits: Tensor) -> Tensor:
    """Mean distance of each side's distribution, in strides.

    Always in float32: bfloat16 is too coarse for the sums.

    Args:
        logits: (..., 4 * BINS), sides in the order left, top, right, bottom.

    Returns:
        float32 (..., 4), between 0 and BINS - 1.
    """
    bins = torch.arange(BINS, dtype=torch.float32, device=logits.device)
    return logits.float().reshape(*logits.shape[:-1], 4, BINS).softmax(-1).matmul(bins)


def distances_to_xyxy(distances: Tensor, points: Tensor) -> Tensor:
    """Boxes from the distances (..., 4) of their left, top, right, bottom sides to the points (..., 2)."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


def xyxy_to_distances(boxes: Tensor, points: Tensor) -> Tensor:
    """Distances (..., 4) of the left, top, right, bottom sides to the points (..., 2); negative for points outside."""
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """xyxy (..., 4) from xywh."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), -1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """xywh (..., 4) from xyxy."""
    left_top, right_bottom = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((left_top + right_bottom) / 2, right_bottom - left_top), -1)


def area(boxes: Tensor) -> Tensor:
    """Area of xyxy boxes (..., 4), in square px; an inverted box has area 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Area of the overlap of xyxy boxes that broadcast against each other, in square px."""
    left_top = torch.maximum(a[..., :2], b[..., :2])
    right_bottom = torch.minimum(a[..., 2:], b[..., 2:])
    sides = (right_bottom - left_top).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        a: (N, 4) xyxy.
        b: (M, 4) xyxy.

    Returns:
        (N, M) within 0-1; 0 for a pair of empty boxes.
    """
    shared = intersection(a[:, None], b[None])
    union = area(a)[:, None] + area(b)[None] - shared
    return (shared / union.clamp(min=_EPS)).clamp(0, 1)


def ciou(truth: Tensor, predicted: Tensor) -> Tensor:
    """Complete IoU: IoU minus the centre distance and the aspect difference.

    Source: arXiv 1911.08287; the trade-off factor has no gradient. The term against division by zero is in the height,
    as in the YOLOv8 recipe.

    Args:
        truth: (..., 4) xyxy.
        predicted: (..., 4) xyxy, same shape.

    Returns:
        (...), not above the IoU; may be negative.
    """
    wide_t, high_t = (truth[..., 2:] - truth[..., :2]).unbind(-1)
    wide_p, high_p = (predicted[..., 2:] - predicted[..., :2]).unbind(-1)
    high_t, high_p = high_t + _EPS, high_p + _EPS
    shared = intersection(truth, predicted)
    iou = shared / (wide_t * high_t + wide_p * high_p - shared + _EPS)

    hull = torch.maximum(truth[..., 2:], predicted[..., 2:]) - torch.minimum(truth[..., :2], predicted[..., :2])
    diagonal = hull.square().sum(-1) + _EPS
    apart = (truth[..., :2] + truth[..., 2:] - predicted[..., :2] - predicted[..., 2:]).square().sum(-1) / 4
    aspect = (4 / math.pi**2) * (torch.atan(wide_p / high_p) - torch.atan(wide_t / high_t)).square()
    with torch.no_grad():
        weight = aspect / (1 - iou + aspect + _EPS)
    return iou - apart / diagonal - aspect * weight
