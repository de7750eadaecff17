"""Which class detections have, and which class their objects have: the confusion matrix at a score cut and IoU .5.

Each detection and each ground-truth box is in one cell. Pairs of the same class are matched first, by COCO's rule, so
the diagonal holds the hits that precision and recall count. What is left is matched across the classes, best score
first, each with the free box of largest IoU. Boxes that stay alone are missed, detections that stay alone are false.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from effscope.data.sample import Sample
from effscope.detect.boxes import iou_matrix
from effscope.detect.error_analysis import LEAST_MATCH, MATCH, Judged, judge
from effscope.detect.predict import Detections
from effscope.results import Confusion


def above(found: Detections, cut: float, known: NDArray[np.bool_]) -> Detections:
    """The detections with at least this score (0-1) and a known class; `known`: bool (classes,)."""
    kept = (found.scores.astype(np.float64) >= cut) & known[found.labels]
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def known_classes(samples: Sequence[Sample], classes: Sequence[str], named: Sequence[str]) -> NDArray[np.bool_]:
    """Bool (classes,): the classes that the data names, or that have a ground-truth box.

    A model can have more classes than the data; a detection of those is no error.

    Args:
        samples: the ground truth, with labels that index `classes`.
        classes: names, position = label.
        named: the classes of the data as it names them.
    """
    known = np.isin(np.array(classes, dtype=object), np.array(named, dtype=object))
    for sample in samples:
        known[sample.truth.labels] = True
    return known


def confusion(
    samples: Sequence[Sample],
    detections: Sequence[Detections],
    classes: Sequence[str],
    cut: float,
    named: Sequence[str],
) -> tuple[Confusion, list[Judged]]:
    """The confusion matrix of the detections with at least the score `cut`, and the kind of each of these.

    Args:
        samples: the ground truth.
        detections: one entry per sample, in the same order.
        classes: names, position = label.
        cut: smallest score that counts, 0-1.
        named: the classes of the data as it names them; others have no row.
    """
    known = known_classes(samples, classes, named)
    size = max([len(classes), *(int(found.labels.max(initial=-1)) + 1 for found in detections)])
    wide = np.pad(known, (0, size - len(classes)))  # a model can have labels beyond the names
    shown = [above(found, cut, wide) for found in detections]
    judged = [judge(sample, found) for sample, found in zip(samples, shown, strict=True)]
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for sample, found, one in zip(samples, shown, judged, strict=True):
        _count(counts, sample, found, one)
    rows = np.append(np.flatnonzero(known), len(classes))
    table = tuple(tuple(row) for row in counts[np.ix_(rows, rows)].tolist())
    return Confusion(tuple(classes[k] for k in rows[:-1]), table, cut, MATCH), judged


def _count(counts: NDArray[np.int64], sample: Sample, found: Detections, judged: Judged) -> None:
    """Add an image to the matrix (true class, class of the detection); its last row and column are the background."""
    truth, nothing = sample.truth.wanted, len(counts) - 1
    hits = judged.kind == ""
    np.add.at(counts, (truth.labels[judged.hit], truth.labels[judged.hit]), 1)
    boxes, guesses = np.flatnonzero(~judged.hit), np.flatnonzero(~hits & (judged.kind != "ignored"))
    guesses = guesses[np.argsort(-found.scores[guesses], kind="stable")]
    pairs = (torch.from_numpy(part).double() for part in (found.boxes[guesses], truth.boxes[boxes]))
    overlap = iou_matrix(*pairs).numpy()
    free = np.ones(len(boxes), bool)
    for row, guess in zip(overlap, guesses, strict=True):
        open_now = np.where(free, row, -1.0)
        best = int(open_now.argmax()) if len(boxes) else -1
        is_pair = best >= 0 and open_now[best] >= LEAST_MATCH
        counts[truth.labels[boxes[best]] if is_pair else nothing, found.labels[guess]] += 1
        if is_pair:
            free[best] = False
    np.add.at(counts, (truth.labels[boxes[free]], np.full(int(free.sum()), nothing)), 1)
