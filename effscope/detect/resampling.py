"""AP per image, and the standard error of AP: stores the matches of each detection, so that images can be reweighted.

COCO's rule (cocoeval, all areas, 100 detections per image and class) in arrays; `evaluate.score` is the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from effscope.data.sample import Objects, Sample
from effscope.detect.boxes import iou_matrix
from effscope.detect.image_order import image_ids
from effscope.detect.jackknife import GROUPS, jackknife_variance
from effscope.detect.predict import Detections

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_DETECTIONS = 100
_EPS = float(np.spacing(1))

Weights = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of the detections of a split.

    Attributes:
        image: int64 (D,), position of the image, ascending.
        label: int64 (D,).
        score: float64 (D,).
        hit: bool (D, 10), whether the detection matches a ground-truth box at each of `IOUS`.
        ignored: bool (D, 10), whether it matches none but lies in an ignored object, so that it is not scored.
        truths: int64 (images, classes), number of ground-truth boxes.
        order: int64 (images,), which image comes first at equal scores; None: the first one.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: NDArray[np.int64]
    order: NDArray[np.int64] | None = None

    def ap(self, weights: Weights | None = None) -> float:
        """AP (fraction 0-1) if image n counts `weights[n]` times; 0 if no image with ground-truth boxes counts."""
        w = np.ones(len(self.truths)) if weights is None else weights
        wanted = w @ self.truths  # (classes,)
        each = [self._class_ap(int(k), w, wanted[k]) for k in np.flatnonzero(wanted > 0)]
        return float(np.mean(each)) if each else 0.0

    def per_image(self) -> list[float | None]:
        """AP of every single image; None for an image without ground-truth boxes."""
        starts = np.searchsorted(self.image, np.arange(len(self.truths) + 1))
        found: list[float | None] = []
        for n, truths in enumerate(self.truths):
            own = slice(starts[n], starts[n + 1])
            alone = Matches(
                self.image[own] * 0, self.label[own], self.score[own], self.hit[own], self.ignored[own], truths[None]
            )
            found.append(alone.ap() if truths.any() else None)
        return found

    def standard_error(self, other: Matches | None = None, groups: int = GROUPS) -> float | None:
        """Standard error of AP over the choice of images, by a delete-group jackknife. None for one image.

        Args:
            other: matches of another detector on the same images; then the standard error of the difference in AP.
            groups: number of groups of images; at most the number of images.
        """
        left = self.left_out(groups)
        if other is not None:
            left = tuple(a - b for a, b in zip(left, other.left_out(groups), strict=True))
        return math.sqrt(jackknife_variance(left)) if left else None

    def left_out(self, groups: int = GROUPS) -> tuple[float, ...]:
        """AP without each group of images in turn; empty for one image. Image n is in group n modulo `groups`."""
        n = len(self.truths)
        groups = min(groups, n)
        if groups < 2:  # noqa: PLR2004
            return ()
        group = np.arange(n) % groups
        return tuple(self.ap((group != k).astype(np.float64)) for k in range(groups))

    def _class_ap(self, label: int, weights: Weights, wanted: float) -> float:
        own = np.flatnonzero((self.label == label) & (weights[self.image] > 0))
        if not len(own):
            return 0.0
        first = self.image[own] if self.order is None else self.order[self.image[own]]
        own = own[np.lexsort((first, -self.score[own]))]
        weight = weights[self.image[own]][:, None]
        right = np.cumsum(self.hit[own] * weight, 0)
        recall = right / wanted  # (D, 10)
        precision = right / (np.cumsum(~self.ignored[own] * weight, 0) + _EPS)
        precision = np.maximum.accumulate(precision[::-1], 0)[::-1]
        at = [np.searchsorted(recall[:, t], RECALLS, side="left") for t in range(len(IOUS))]
        padded = np.vstack((precision, np.zeros(len(IOUS))))
        return float(np.mean([padded[where, t] for t, where in enumerate(at)]))


def match(samples: Sequence[Sample], detections: Sequence[Detections], n_classes: int) -> Matches:
    """Match detections with ground-truth boxes.

    Args:
        samples: the ground truth.
        detections: one entry per sample, in the same order.
        n_classes: number of classes; labels are below it.
    """
    parts = []
    truths, order = np.zeros((len(samples), n_classes), np.int64), np.array(image_ids(samples), np.int64)
    for n, (sample, found) in enumerate(zip(samples, detections, strict=True)):
        truth = sample.truth
        wanted = truth.wanted
        np.add.at(truths[n], wanted.labels, 1)
        for label in np.unique(found.labels):
            best = np.flatnonzero(found.labels == label)
            best = best[np.argsort(-found.scores[best], kind="stable")][:MOST_DETECTIONS]
            hit = _hits(found.boxes[best], wanted.boxes[wanted.labels == label])
            ignored = ~hit & in_ignored(found.boxes[best], found.labels[best], truth)
            scores = found.scores[best].astype(np.float64)
            parts.append((np.full(len(best), n), found.labels[best], scores, hit, ignored))
    if not parts:
        empty, none = np.zeros(0, np.int64), np.zeros((0, len(IOUS)), bool)
        return Matches(empty, empty, np.zeros(0), none, none, truths, order)
    image, labels, scores, hits, ignored = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Matches(image, labels, scores, hits, ignored, truths, order)


def in_ignored(boxes: NDArray[np.float32], labels: NDArray[np.int64], truth: Objects) -> NDArray[np.bool_]:
    """Bool (D, 10): whether the share of a detection in an ignored object of its class reaches each of `IOUS`."""
    if not truth.ignored.any():
        return np.zeros((len(boxes), len(IOUS)), bool)
    regions = truth.some(truth.ignored)
    own, other = boxes.astype(np.float64)[:, None], regions.boxes[None]
    sides = np.minimum(own[..., 2:], other[..., 2:]) - np.maximum(own[..., :2], other[..., :2])
    shared = np.prod(np.clip(sides, 0.0, None), axis=2) * (labels[:, None] == regions.labels[None])
    share = shared / np.maximum(np.prod(own[..., 2:] - own[..., :2], axis=2), _EPS)
    return np.asarray(share.max(1, initial=0.0)[:, None] >= IOUS - 1e-10)


def _hits(found: NDArray[np.float32], true: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bool (D, 10): in order of score, a detection takes the free box of largest IoU, if the IoU is large enough."""
    hit = np.zeros((len(found), len(IOUS)), bool)
    if not len(true):
        return hit
    overlap = iou_matrix(*(torch.from_numpy(boxes).double() for boxes in (found, true))).numpy()
    free = np.ones((len(IOUS), len(true)), bool)
    rows = np.arange(len(IOUS))
    for k, row in enumerate(overlap):
        if row.max() < IOUS[0]:
            continue
        open_now = np.where(free, row, -1.0)
        best = len(true) - 1 - open_now[:, ::-1].argmax(1)  # the last of equal ones, as in cocoeval
        hit[k] = open_now[rows, best] >= IOUS - 1e-10
        free[rows[hit[k]], best[hit[k]]] = False
    return hit
