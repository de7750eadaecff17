"""Losses of YOLOv8 heads: CIoU and distribution focal loss (DFL) on assigned points, BCE on all classes and points.

Sources: YOLOv8's recipe (gains 7.5, 1.5, 0.5); DFL: arXiv 2006.04388. The loss of a dual head is the sum of both heads'
losses (YOLOv10, arXiv 2405.14458). The network detaches the features of the one-to-one head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from effscope.detect.boxes import BINS, ciou, dfl_expectation, distances_to_xyxy, xyxy_to_distances
from effscope.nn.anchor_points import anchor_points
from effscope.recipes import Recipe
from effscope.training.assign import Assignment, AssignRule, Truth, assign

ONE_TO_MANY, ONE_TO_ONE = "o2m", "o2o"
"""Names of a detector's views with raw levels."""

Summed = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes that share a batch."""

_BOX_CHANNELS = 4 * BINS
_LAST_BIN = BINS - 1 - 0.01


@dataclass(frozen=True)
class Losses:
    """Loss terms of a batch.

    Attributes:
        box, cls, dfl: scalars, times their gain, divided by the sum of soft targets of the whole batch.
        assigned: the assignment of each head, the one-to-many head first.
        taught: distance from a teacher's answers, times its gain; None without a teacher.
    """

    box: Tensor
    cls: Tensor
    dfl: Tensor
    assigned: tuple[Assignment, ...] = ()
    taught: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """The sum to differentiate."""
        labels = self.box + self.cls + self.dfl
        return labels if self.taught is None else labels + self.taught

    def __add__(self, other: Losses) -> Losses:
        assigned = (*self.assigned, *other.assigned)
        return Losses(self.box + other.box, self.cls + other.cls, self.dfl + other.dfl, assigned)


def assign_rules(recipe: Recipe) -> dict[str, AssignRule]:
    """How boxes are assigned, per head.

    Consistent matching (arXiv 2405.14458, section 3.1): the one-to-one exponents are `o2o_ratio` times the one-to-many
    exponents, unless the recipe has `o2o_alpha` or `o2o_beta`.
    """
    alpha, beta, r = recipe.assign_alpha, recipe.assign_beta, recipe.o2o_ratio
    one_alpha = r * alpha if recipe.o2o_alpha is None else recipe.o2o_alpha
    one_beta = r * beta if recipe.o2o_beta is None else recipe.o2o_beta
    return {ONE_TO_MANY: AssignRule(recipe.assign_topk, alpha, beta), ONE_TO_ONE: AssignRule(1, one_alpha, one_beta)}


def detector_loss(
    views: Mapping[str, Sequence[Tensor]],
    truth: Truth,
    imgsz: tuple[int, int],
    recipe: Recipe,
    summed: Summed = lambda tensor: tensor,
) -> Losses:
    """Loss of a detector: the sum over its one or two heads.

    Args:
        views: "o2m", "o2o" or both: levels (B, 64 + classes, H, W), finest first.
        truth: the ground-truth boxes, in px of the input.
        imgsz: (height, width) of the input in px.
        recipe: gains and assignment.
        summed: sums over the processes that share the batch, so that their losses add up to the loss of the batch.
    """
    first, *others = (
        head_loss(views[name], truth, imgsz, recipe, rule, summed)
        for name, rule in assign_rules(recipe).items()
        if name in views
    )
    return sum(others, start=first)


def head_loss(
    levels: Sequence[Tensor],
    truth: Truth,
    imgsz: tuple[int, int],
    recipe: Recipe,
    rule: AssignRule,
    summed: Summed = lambda tensor: tensor,
) -> Losses:
    """Loss of one head; arguments as in `detector_loss`. `rule.least_side` is replaced by the middle level's stride."""
    shapes = [(level.shape[2], level.shape[3]) for level in levels]
    strides = [imgsz[0] // height for height, _ in shapes]
    cells, scales = anchor_points(shapes, strides, levels[0].device)
    points, stride = (cells * scales).T.contiguous(), scales.T
    raw = torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2).float()  # (B, A, 64 + C)
    sides, classes = raw[..., :_BOX_CHANNELS], raw[..., _BOX_CHANNELS:]

    with torch.no_grad():
        predicted = distances_to_xyxy(dfl_expectation(sides) * stride, points)
        rule = replace(rule, least_side=float(strides[min(1, len(strides) - 1)]))
        assigned = assign(classes.sigmoid(), predicted, points, truth, rule)
        strength = summed(assigned.strength.sum()).clamp(min=1)

    cls = functional.binary_cross_entropy_with_logits(classes, assigned.scores, reduction="sum") / strength
    box, dfl = _box_losses(sides, points, stride, truth.boxes, assigned)
    terms = recipe.box_gain * box / strength, recipe.cls_gain * cls, recipe.dfl_gain * dfl / strength
    return Losses(*terms, (assigned,))


def _box_losses(
    sides: Tensor, points: Tensor, stride: Tensor, truth: Tensor, assigned: Assignment
) -> tuple[Tensor, Tensor]:
    """Sums over assigned points of the CIoU loss and the DFL, each point weighted by its soft class target."""
    image, point, weight = assigned.image, assigned.point, assigned.strength
    logits, at, step = sides[image, point], points[point], stride[point]
    target = truth[image, assigned.box]
    predicted = distances_to_xyxy(dfl_expectation(logits) * step, at)
    box = ((1 - ciou(target, predicted)) * weight).sum()
    distances = (xyxy_to_distances(target, at) / step).clamp(0, _LAST_BIN)  # in strides
    dfl = (_distribution_loss(logits, distances) * weight).sum()
    return box, dfl


def _distribution_loss(logits: Tensor, distances: Tensor) -> Tensor:
    """Cross-entropy of the two bins next to the true distance, weighted by nearness: (P, 64), (P, 4) -> (P,)."""
    log_p = logits.reshape(-1, 4, BINS).log_softmax(-1)
    below = distances.floor().long()
    nearness = below + 1 - distances
    low = log_p.gather(-1, below[..., None])[..., 0]
    high = log_p.gather(-1, below[..., None] + 1)[..., 0]
    return (low * nearness + high * (1 - nearness)).mean(-1).neg()
