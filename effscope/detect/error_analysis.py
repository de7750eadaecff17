"""Errors of a detector by kind, and the AP without the errors of each kind.

Source: TIDE (Bolya et al., arXiv 2008.08115): kinds, and oracles that correct them, at IoU .5 for a match and .1 for
background. AP is by COCO's rule on the corrected detections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from effscope.data.sample import Sample
from effscope.detect.boxes import iou_matrix
from effscope.detect.evaluate import Evaluation, score
from effscope.detect.predict import Detections
from effscope.detect.resampling import in_ignored
from effscope.results import ErrorKind

MATCH, BACKGROUND = 0.5, 0.1
"""Minimum IoU of a match; below the second value a detection is background."""

LEAST_MATCH = MATCH - 1e-10
"""cocoeval's bound for a match at IoU .5."""


@dataclass(frozen=True)
class Judged:
    """Detections and ground-truth boxes of an image, each with its kind.

    Attributes:
        kind: per detection: "" for a hit, "ignored" if it lies in an ignored object, else the kind of its error.
        target: per detection, the ground-truth box that it belongs to (of its class; for "classification", of another
            class), or -1.
        hit: per ground-truth box, whether a detection matches it.
        missed: per ground-truth box, whether it has no match, and no "classification" or "localisation" error belongs
            to it.
    """

    kind: NDArray[np.str_]
    target: NDArray[np.int64]
    hit: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def judge(sample: Sample, found: Detections) -> Judged:
    """The kind of every detection of an image. Detections take the objects to be found in order of score."""
    truth = sample.truth.wanted
    n, m = len(found.scores), len(truth)
    kind = np.full(n, "background", dtype="<U14")
    target = np.full(n, -1)
    hit, near = np.zeros(m, bool), np.zeros(m, bool)
    ignored = in_ignored(found.boxes, found.labels, sample.truth)[:, 0]
    if n and m:
        overlap = iou_matrix(*(torch.from_numpy(boxes).double() for boxes in (found.boxes, truth.boxes))).numpy()
        same = found.labels[:, None] == truth.labels[None]
        right, other = np.where(same, overlap, -1.0), np.where(same, -1.0, overlap)
        for k in np.argsort(-found.scores, kind="stable"):
            open_now = np.where(hit, -1.0, right[k])
            best = m - 1 - int(open_now[::-1].argmax())  # the last of equal ones, as in cocoeval
            if open_now[best] >= LEAST_MATCH:
                kind[k], target[k], hit[best] = "", best, True
        for k in np.flatnonzero((kind == "background") & ~ignored):
            kind[k], target[k] = _wrong(right[k], other[k])
            near[target[k]] |= kind[k] in {"classification", "localisation"}
    kind[(kind == "background") & (target < 0) & ignored] = "ignored"
    return Judged(kind, target, hit, ~hit & ~near)


def _wrong(right: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[str, int]:
    """Kind and box of a detection without a match, from its IoU with boxes of its class and of other classes."""
    of_right, of_other = int(right.argmax()), int(other.argmax())
    if BACKGROUND <= right[of_right] < MATCH:
        return "localisation", of_right
    if other[of_other] >= MATCH:
        return "classification", of_other
    if right[of_right] >= MATCH:
        return "duplicate", of_right
    if max(right[of_right], other[of_other]) < BACKGROUND:
        return "background", -1
    return "both", -1


Correction = Callable[[Sample, Detections, Judged], tuple[Sample, Detections]]


def _without(kind: str) -> Correction:
    """Remove the detections of this kind."""

    def correct(sample: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
        return sample, _kept(found, judged.kind != kind)

    return correct


def _kept(found: Detections, keep: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _corrected(kind: str) -> Correction:
    """Give each detection of this kind the class, or the position, of its ground-truth box.

    Remove it if this box already has a match, or a better detection of this kind.
    """

    def correct(sample: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
        truth, boxes, labels = sample.truth.wanted, found.boxes.copy(), found.labels.copy()
        keep, taken = np.ones(len(labels), bool), judged.hit.copy()
        for k in sorted(np.flatnonzero(judged.kind == kind), key=lambda k: -found.scores[k]):
            box = judged.target[k]
            keep[k], taken[box] = not taken[box], True
            boxes[k] = truth.boxes[box] if kind == "localisation" else boxes[k]
            labels[k] = truth.labels[box]
        return sample, _kept(replace(found, boxes=boxes, labels=labels), keep)

    return correct


def _without_missed(sample: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
    """Remove the objects that were missed."""
    kept = np.ones(len(sample.truth), bool)
    kept[~sample.truth.ignored] = ~judged.missed
    return replace(sample, written=sample.truth.some(kept)), found


CORRECTIONS: dict[str, Correction] = {
    "classification": _corrected("classification"),
    "localisation": _corrected("localisation"),
    "both": _without("both"),
    "duplicate": _without("duplicate"),
    "background": _without("background"),
    "missed": _without_missed,
}
"""Kind of error -> the oracle that corrects its errors."""


def error_analysis(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
    base: Evaluation | None = None,
    at_cut: Sequence[Judged] | None = None,
) -> tuple[ErrorKind, ...]:
    """Number of errors of each kind, and the AP without them (fractions 0-1).

    Args:
        samples: the ground truth.
        detections: one entry per sample, in the same order.
        classes: names, position = label.
        base: the scores of these detections; default: they are computed.
        at_cut: `judge` of the detections above a score cut, one entry per sample, for `ErrorKind.at_cut`.
    """
    judged = [judge(sample, found) for sample, found in zip(samples, detections, strict=True)]
    base = base or score(samples, detections, classes)
    kinds = []
    for kind, correct in CORRECTIONS.items():
        pairs = [correct(t, d, j) for t, d, j in zip(samples, detections, judged, strict=True)]
        corrected = score([t for t, _ in pairs], [d for _, d in pairs], classes)
        gains = (corrected.ap50 - base.ap50, corrected.ap - base.ap)
        shown = None if at_cut is None else _count(kind, at_cut)
        kinds.append(ErrorKind(kind, _count(kind, judged), corrected.ap50, corrected.ap, *gains, shown))
    return tuple(kinds)


def _count(kind: str, judged: Sequence[Judged]) -> int:
    return sum(int(one.missed.sum() if kind == "missed" else (one.kind == kind).sum()) for one in judged)
