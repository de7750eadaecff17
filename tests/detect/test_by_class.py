"""Precision, recall and F1 by class: by hand, against counting, and that AP and curves fit each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.data.sample import Objects, Sample
from effscope.detect.by_class import CUTS, by_cut, class_fields, curves, smoothed
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.detect.resampling import match

NAMES = ("cell", "dust", "hair")
Row = tuple[float, ...]


def sample(*rows: Row) -> Sample:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Sample(Path("none.jpg"), (400, 400), table[:, :4], table[:, 4].astype(np.int64))


def found(*rows: Row) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def box(k: int) -> tuple[float, float, float, float]:
    """The k-th of boxes that do not touch."""
    return (30.0 * k, 0, 30.0 * k + 20, 20)


def at(cuts: object, value: float) -> int:
    return int(np.argmin(np.abs(np.asarray(cuts) - value)))


def test_one_class_by_hand() -> None:
    """Two boxes; a hit at .9, a false one at .6, a hit at .3: P 1, 1/2, 2/3 and R 1/2, 1/2, 1 at these scores."""
    truth = [sample((*box(0), 0), (*box(1), 0))]
    guesses = [found((*box(0), 0.9, 0), (*box(5), 0.6, 0), (*box(1), 0.3, 0))]
    cuts = by_cut(match(truth, guesses, 3))
    assert (cuts.labels.tolist(), cuts.boxes.tolist()) == ([0], [2])
    for cut, precision, recall in (
        (0.95, 1, 0), (0.75, 0.75, 0.5), (0.45, (0.5 + 2 / 3) / 2, 0.75), (0.1, 2 / 3, 1),
    ):  # fmt: skip  # between two detections: half of both
        n = at(CUTS, cut)
        assert cuts.precision[0, n] == pytest.approx(precision, abs=2e-3)
        assert cuts.recall[0, n] == pytest.approx(recall, abs=2e-3)
        p, r = cuts.precision[0, n], cuts.recall[0, n]
        assert cuts.f1[0, n] == pytest.approx(2 * p * r / (p + r))
    fields = class_fields(score(truth, guesses, NAMES), match(truth, guesses, 3), NAMES)
    assert fields["score_cut"] < 0.3  # both boxes are found below the last hit: F1 .8, the largest
    assert (fields["precision"], fields["recall"], fields["f1"]) == pytest.approx((2 / 3, 1, 0.8))
    (only,) = fields["classes"]
    assert (only.name, only.boxes) == ("cell", 2)


def test_the_cut_is_that_of_all_classes_and_the_means_are_over_them() -> None:
    """Class 0 has its false detections below .6, class 1 its only hit at .7: the cut lies between."""
    truth = [sample((*box(0), 0), (*box(1), 1))]
    stray = [(*box(3 + k), 0.6, 0) for k in range(4)]
    guesses = [found((*box(0), 0.8, 0), (*box(1), 0.7, 1), *stray)]
    fields = class_fields(score(truth, guesses, NAMES), match(truth, guesses, 3), NAMES)
    assert 0.6 < fields["score_cut"] < 0.75
    for name in ("precision", "recall", "f1"):
        assert fields[name] == pytest.approx(np.mean([getattr(one, name) for one in fields["classes"]]))


def test_classes_without_detections_or_without_any_above_the_cut() -> None:
    truth = [sample((*box(0), 0), (*box(1), 1), (*box(2), 2))]
    stray = [(*box(4 + k), 0.3, 0) for k in range(9)]
    guesses = [found((*box(0), 0.9, 0), (*box(1), 0.002, 1), *stray)]
    fields = class_fields(score(truth, guesses, NAMES), match(truth, guesses, 3), NAMES)
    cell, dust, hair = fields["classes"]
    assert cell.recall == 1
    assert (dust.precision, dust.recall, dust.f1) == (1, 0, 0)  # it has one, below the cut
    assert (hair.precision, hair.recall, hair.f1) == (0, 0, 0)


def test_nothing_to_score_has_no_fields() -> None:
    truth, guesses = [sample()], [found((*box(0), 0.9, 0))]
    assert class_fields(score(truth, guesses, NAMES), match(truth, guesses, 3), NAMES) == {}
    assert curves(score(truth, guesses, NAMES), match(truth, guesses, 3), NAMES) == ()
    assert by_cut(match(truth, guesses, 3)).best is None
    nothing = class_fields(
        score([sample((*box(0), 1))], [found()], NAMES), match([sample((*box(0), 1))], [found()], 3), NAMES
    )
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (0, 0, 0)


def test_a_detection_in_a_crowd_is_neither_right_nor_false() -> None:
    crowd = np.array([box(0), (100, 100, 300, 300)], np.float64)
    written = Objects(crowd, np.array([0, 0]), np.array([400.0, 4e4]), np.array([False, True]))
    truth = [Sample(Path("none.jpg"), (400, 400), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), "", written)]
    guesses = [found((*box(0), 0.9, 0), (120, 120, 160, 160, 0.8, 0))]
    cuts = by_cut(match(truth, guesses, 3))
    assert cuts.boxes.tolist() == [1]
    assert (cuts.precision[0, at(CUTS, 0.5)], cuts.recall[0, at(CUTS, 0.5)]) == (1, 1)


def test_the_filter_keeps_constants_and_means() -> None:
    assert smoothed(np.full(1000, 0.3)) == pytest.approx(np.full(1000, 0.3))
    ramp = smoothed(np.arange(1000.0))
    assert ramp[500] == pytest.approx(500) and len(ramp) == 1000
    spike = np.zeros(1000)
    spike[200:211] = 1
    wide = np.zeros(1000)
    wide[600:800] = 0.9
    assert 600 <= smoothed(np.maximum(spike, wide)).argmax() < 800  # a narrow peak does not decide


def split(seed: int, n: int = 6) -> tuple[list[Sample], list[Detections]]:
    """Images with 0-5 boxes; detections near them and stray ones; scores all different."""
    random = np.random.default_rng(seed)
    truth, guesses = [], []
    for _ in range(n):
        m = int(random.integers(0, 6))
        low = random.uniform(0, 300, (m, 2))
        boxes = np.hstack((low, low + random.uniform(10, 90, (m, 2)))).astype(np.float32)
        labels = random.integers(0, 3, m)
        near = boxes + random.normal(0, 5, boxes.shape).astype(np.float32)
        stray = random.uniform(0, 300, (4, 2))
        wrong = np.hstack((stray, stray + random.uniform(10, 90, (4, 2)))).astype(np.float32)
        every = np.vstack((near, wrong))
        named = np.concatenate((np.where(random.random(m) < 0.8, labels, (labels + 1) % 3), random.integers(0, 3, 4)))
        scores = random.permutation(10_000)[: len(every)].astype(np.float32) / 10_001
        order = np.argsort(-scores)
        truth.append(Sample(Path("none.jpg"), (400, 400), boxes, labels))
        guesses.append(Detections(every[order], scores[order], named[order]))
    return truth, guesses


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_counting_at_a_detection_gives_the_same(seed: int) -> None:
    """At the score of a detection, interpolation has no part: P and R are counts."""
    truth, guesses = split(seed)
    matches = match(truth, guesses, 3)
    cuts = by_cut(matches)
    for row, label in enumerate(cuts.labels):
        own = matches.label == label
        near = np.unique(np.round(matches.score[own] * 999).astype(int))
        for n in near[:5]:
            exact = matches.score[own][np.argmin(np.abs(matches.score[own] - CUTS[n]))]
            if abs(exact - CUTS[n]) > 1e-7:
                continue
            kept = own & (matches.score >= exact)
            assert cuts.precision[row, n] == pytest.approx(matches.hit[kept, 0].mean(), abs=1e-3)
    assert ((cuts.precision >= 0) & (cuts.precision <= 1) & (cuts.recall >= 0) & (cuts.recall <= 1)).all()
    assert (np.diff(cuts.recall, axis=1) <= 1e-12).all()  # a higher cut finds no more
    kept_all = [int((matches.hit[matches.label == label, 0]).sum()) for label in cuts.labels]
    assert cuts.recall[:, 0] * cuts.boxes == pytest.approx(np.array(kept_all, float))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_mean_of_a_precision_curve_is_ap50(seed: int) -> None:
    truth, guesses = split(seed)
    scored, matches = score(truth, guesses, NAMES), match(truth, guesses, 3)
    fields = class_fields(scored, matches, NAMES)
    if not fields:
        return
    assert np.mean([one.ap50 for one in fields["classes"]]) == pytest.approx(scored.ap50, abs=1e-9)
    assert np.mean([one.ap for one in fields["classes"]]) == pytest.approx(scored.ap, abs=1e-9)
    assert sum(one.boxes for one in fields["classes"]) == scored.boxes
    drawn = curves(scored, matches, NAMES)
    for one, curve in zip(fields["classes"], drawn, strict=True):
        assert (one.name, len(curve.precision), len(curve.f1)) == (curve.name, 101, 101)
        assert np.mean(curve.precision) == pytest.approx(one.ap50, abs=1e-4)
        assert list(curve.precision) == sorted(curve.precision, reverse=True)
