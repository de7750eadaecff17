"""What stands between a detector and full AP: its errors by kind, and the AP it would have without each.

Source: TIDE (Bolya et al., arXiv 2008.08115): kinds and oracles at IoU .5 for a match and .1 for background. AP is
computed by COCO's rule on the mended detections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from effscope.data.sample import Sample
from effscope.detect.boxes import iou_matrix
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.results import ErrorKind

MATCH, BACKGROUND = 0.5, 0.1
"""IoU from which on a box is found, and below which a detection is of nothing."""


@dataclass(frozen=True)
class Judged:
    """The detections of a picture, each with what it is.

    Attributes:
        kind: of every detection: "" for a hit, else the kind of its error.
        target: the true box it is nearest to by its kind (of the right class, or for "classification" of any), or -1.
        hit: of every true box, whether a detection found it.
        missed: of every true box, whether nothing found it, nor came near under another class or in another place.
    """

    kind: NDArray[np.str_]
    target: NDArray[np.int64]
    hit: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def judge(truth: Sample, found: Detections) -> Judged:
    """What every detection of a picture is. The better scored takes a true box of its class first."""
    n, m = len(found.scores), len(truth.boxes)
    kind = np.full(n, "background", dtype="<U14")
    target = np.full(n, -1)
    hit, near = np.zeros(m, bool), np.zeros(m, bool)
    if n and m:
        overlap = iou_matrix(*(torch.from_numpy(boxes).double() for boxes in (found.boxes, truth.boxes))).numpy()
        same = found.labels[:, None] == truth.labels[None]
        right, other = np.where(same, overlap, -1.0), np.where(same, -1.0, overlap)
        for k in np.argsort(-found.scores, kind="stable"):
            open_now = np.where(hit, -1.0, right[k])
            best = int(open_now.argmax())
            if open_now[best] >= MATCH:
                kind[k], target[k], hit[best] = "", best, True
        for k in np.flatnonzero(kind == "background"):
            kind[k], target[k] = _wrong(right[k], other[k])
            near[target[k]] |= kind[k] in {"classification", "localisation"}
    return Judged(kind, target, hit, ~hit & ~near)


def _wrong(right: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[str, int]:
    """Kind of a detection that found nothing, from its overlaps with boxes of its class and of others; and the box."""
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


Mend = Callable[[Sample, Detections, Judged], tuple[Sample, Detections]]


def _without(kind: str) -> Mend:
    def mend(truth: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
        return truth, _kept(found, judged.kind != kind)

    return mend


def _kept(found: Detections, keep: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _put_right(kind: str) -> Mend:
    """Each gets the class, or the place, of its true box; those of a box that is found already are left out, and of
    several of one box all but the best."""

    def mend(truth: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
        boxes, labels = found.boxes.copy(), found.labels.copy()
        keep, taken = np.ones(len(labels), bool), judged.hit.copy()
        for k in sorted(np.flatnonzero(judged.kind == kind), key=lambda k: -found.scores[k]):
            box = judged.target[k]
            keep[k], taken[box] = not taken[box], True
            boxes[k] = truth.boxes[box] if kind == "localisation" else boxes[k]
            labels[k] = truth.labels[box]
        return truth, _kept(replace(found, boxes=boxes, labels=labels), keep)

    return mend


def _without_missed(truth: Sample, found: Detections, judged: Judged) -> tuple[Sample, Detections]:
    return replace(truth, boxes=truth.boxes[~judged.missed], labels=truth.labels[~judged.missed]), found


MENDS: dict[str, Mend] = {
    "classification": _put_right("classification"),
    "localisation": _put_right("localisation"),
    "both": _without("both"),
    "duplicate": _without("duplicate"),
    "background": _without("background"),
    "missed": _without_missed,
}
"""Kind -> the oracle that takes its errors out."""


def breakdown(
    samples: Sequence[Sample], detections: Sequence[Detections], classes: Sequence[str]
) -> tuple[ErrorKind, ...]:
    """Errors by kind with the AP without each.

    Args:
        samples: the truth.
        detections: one entry a sample, in the same order.
        classes: names, position = label.
    """
    judged = [judge(truth, found) for truth, found in zip(samples, detections, strict=True)]
    base = score(samples, detections, classes)
    kinds = []
    for kind, mend in MENDS.items():
        pairs = [mend(t, d, j) for t, d, j in zip(samples, detections, judged, strict=True)]
        mended = score([t for t, _ in pairs], [d for _, d in pairs], classes)
        counts = [j.missed.sum() if kind == "missed" else (j.kind == kind).sum() for j in judged]
        gains = (mended.ap50 - base.ap50, mended.ap - base.ap)
        kinds.append(ErrorKind(kind, int(sum(counts)), mended.ap50, mended.ap, *gains))
    return tuple(kinds)
