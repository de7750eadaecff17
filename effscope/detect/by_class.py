"""Precision, recall and F1 of each class at IoU .5, by the smallest score that counts, and the cut with the best F1.

The definition is that of Ultralytics' `val` (https://docs.ultralytics.com/guides/yolo-performance-metrics): 1000 cuts
from 0 to 1, values between two detections interpolated in their scores, and the cut with the largest mean F1 over the
classes, after a box filter over 101 cuts. The matches differ: they are COCO's, and ignored objects do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effscope.detect.evaluate import Evaluation
from effscope.detect.resampling import Matches
from effscope.results import CURVE_SCORES, ClassScore, Curve

Values = NDArray[np.float64]

CUTS: Values = np.linspace(0.0, 1.0, 1000)
WINDOW = 101
"""Cuts of the box filter that smooths the mean F1: a tenth of all."""

DIGITS = 4
"""Digits of the values of a saved curve."""

_EPS = 1e-16


@dataclass(frozen=True, eq=False)
class ByCut:
    """Precision and recall at IoU .5 at each of `CUTS`, fractions 0-1, of the C classes with ground-truth boxes.

    Attributes:
        labels: int64 (C,).
        boxes: int64 (C,), ground-truth boxes.
        precision: float64 (C, 1000); 1 above the best score of the class, 0 for a class without detections.
        recall: float64 (C, 1000).
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.int64]
    precision: Values
    recall: Values

    @property
    def f1(self) -> Values:
        """Harmonic mean of precision and recall, float64 (C, 1000); 0 where both are 0."""
        product = 2 * self.precision * self.recall
        return np.asarray(product / (self.precision + self.recall + _EPS))

    @property
    def best(self) -> int | None:
        """Position in `CUTS` of the largest smoothed mean F1; None without ground-truth boxes."""
        return int(smoothed(self.f1.mean(0)).argmax()) if len(self.labels) else None


def smoothed(values: Values) -> Values:
    """Mean over a window of `WINDOW` values around each; beyond the ends count the values at the ends."""
    around = np.pad(values, WINDOW // 2, mode="edge")
    return np.convolve(around, np.full(WINDOW, 1 / WINDOW), mode="valid")


def by_cut(matches: Matches) -> ByCut:
    """Precision and recall of each class with ground-truth boxes, at every cut."""
    boxes = matches.truths.sum(0)
    labels = np.flatnonzero(boxes)
    rows = [_class_by_cut(matches, int(label), int(boxes[label])) for label in labels]
    precision, recall = (np.array(part).reshape(-1, len(CUTS)) for part in zip(*rows, strict=True)) if rows else (
        np.zeros((0, len(CUTS))), np.zeros((0, len(CUTS)))
    )  # fmt: skip
    return ByCut(labels, boxes[labels], precision, recall)


def _class_by_cut(matches: Matches, label: int, boxes: int) -> tuple[Values, Values]:
    """Precision and recall (1000,) of one class."""
    own = np.flatnonzero((matches.label == label) & ~matches.ignored[:, 0])
    if not len(own):
        return np.zeros(len(CUTS)), np.zeros(len(CUTS))
    own = own[np.argsort(-matches.score[own], kind="stable")]
    right = np.cumsum(matches.hit[own, 0])
    falling = -matches.score[own]
    precision = np.interp(-CUTS, falling, right / np.arange(1, len(own) + 1), left=1)
    recall = np.interp(-CUTS, falling, right / boxes, left=0)
    return precision, recall


def class_fields(found: Evaluation, matches: Matches, classes: tuple[str, ...]) -> dict[str, Any]:
    """The fields of `Scores` that hold scores by class: classes, score_cut, precision, recall, f1.

    Args:
        found: the AP of the detections.
        matches: the matches of the same detections.
        classes: names, position = label.
    """
    cuts = by_cut(matches)
    if cuts.best is None:
        return {}
    precision, recall, f1 = (part[:, cuts.best] for part in (cuts.precision, cuts.recall, cuts.f1))
    names = [classes[label] for label in cuts.labels]
    rows = tuple(
        ClassScore(
            name, int(n), float(found.per_class[name]), float(found.precision50[name].mean()), *map(float, three)
        )
        for name, n, *three in zip(names, cuts.boxes, precision, recall, f1, strict=True)
    )
    means = {"precision": precision, "recall": recall, "f1": f1}
    cut = {"score_cut": float(CUTS[cuts.best])}
    return {"classes": rows, **cut, **{name: float(values.mean()) for name, values in means.items()}}


def curves(found: Evaluation, matches: Matches, classes: tuple[str, ...]) -> tuple[Curve, ...]:
    """Precision by recall and F1 by score of each class with ground-truth boxes; arguments as of `class_fields`."""
    cuts = by_cut(matches)
    return tuple(
        Curve(
            classes[label],
            tuple(found.precision50[classes[label]].round(DIGITS).tolist()),
            tuple(np.interp(CURVE_SCORES, CUTS, f1).round(DIGITS).tolist()),
        )
        for label, f1 in zip(cuts.labels, cuts.f1, strict=True)
    )
