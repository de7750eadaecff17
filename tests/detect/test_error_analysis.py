"""Errors by kind: one case of each by hand, the AP of the oracles, and sums that hold for any detections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from effscope.data.sample import Objects, Sample
from effscope.detect.error_analysis import CORRECTIONS, error_analysis, judge
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.results import ErrorKind

NAMES = ("cell", "dust")
Row = tuple[float, ...]


def sample(*rows: Row) -> Sample:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Sample(Path("none.jpg"), (400, 400), table[:, :4], table[:, 4].astype(np.int64))


def found(*rows: Row) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


TRUTH = sample((0, 0, 100, 100, 0), (200, 200, 300, 300, 1))
HITS = ((0, 0, 100, 100, 0.9, 0), (200, 200, 300, 300, 0.9, 1))
CASES: dict[str, tuple[Row, ...]] = {
    "classification": (HITS[0], (200, 200, 300, 300, 0.95, 0)),
    "localisation": (HITS[0], (200, 200, 300, 240, 0.95, 1)),  # IoU .4
    "both": (*HITS, (200, 200, 300, 240, 0.95, 0)),
    "duplicate": (*HITS, (0, 0, 100, 90, 0.8, 0)),
    "background": (*HITS, (320, 0, 390, 60, 0.95, 0)),
    "missed": (HITS[0],),
}
"""Kind -> detections with one error of this kind. The other true box has a match if the kind allows it."""


def by_kind(*rows: Row) -> dict[str, ErrorKind]:
    return {error.kind: error for error in error_analysis([TRUTH], [found(*rows)], NAMES)}


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_one_error_of_each_kind_by_hand(kind: str) -> None:
    errors = by_kind(*CASES[kind])
    assert {name: error.count for name, error in errors.items()} == {name: int(name == kind) for name in CORRECTIONS}
    before = score([TRUTH], [found(*CASES[kind])], NAMES)
    assert errors[kind].ap50 == pytest.approx(1)  # it is the only error
    assert errors[kind].d_ap50 == pytest.approx(1 - before.ap50)
    assert errors[kind].d_ap == pytest.approx(errors[kind].ap - before.ap)
    for name, error in errors.items():
        if name != kind:
            assert (error.d_ap50, error.d_ap) == (0, 0)


def test_no_errors_and_no_detections() -> None:
    assert all((error.count, error.d_ap50) == (0, 0) for error in by_kind(*HITS).values())
    nothing = by_kind()
    assert nothing["missed"].count == 2
    assert all(error.count == 0 for kind, error in nothing.items() if kind != "missed")
    assert all(error.count == 0 for error in error_analysis([sample()], [found()], NAMES))
    alone = {error.kind: error.count for error in error_analysis([sample()], [found(HITS[0])], NAMES)}
    assert alone["background"] == 1


def test_the_better_score_takes_the_box() -> None:
    worse_first = found((0, 0, 100, 90, 0.5, 0), (0, 0, 100, 60, 0.6, 0))
    assert judge(TRUTH, worse_first).kind.tolist() == ["duplicate", ""]


def test_of_several_detections_of_one_box_the_best_is_corrected() -> None:
    rows = ((200, 200, 300, 300, 0.7, 0), (200, 200, 300, 290, 0.8, 0), HITS[0])
    errors = by_kind(*rows)
    assert errors["classification"].count == 2
    assert errors["classification"].ap50 == pytest.approx(1)
    assert errors["missed"].count == 0  # it was detected, as another class


boxes = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 90), st.integers(1, 90)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
true_rows = st.lists(st.tuples(boxes, st.integers(0, 1)).map(lambda t: (*t[0], t[1])), max_size=5)
found_rows = st.lists(
    st.tuples(boxes, st.floats(0.125, 1, width=32), st.integers(0, 1)).map(lambda t: (*t[0], t[1], t[2])), max_size=8
)


@settings(deadline=None, max_examples=60)
@given(true_rows, found_rows)
def test_every_detection_has_one_kind(truth_rows: list[Row], rows: list[Row]) -> None:
    truth, guesses = sample(*truth_rows), found(*rows)
    judged = judge(truth, guesses)
    assert set(judged.kind.tolist()) <= {"", *CORRECTIONS}
    assert (judged.kind == "").sum() == judged.hit.sum()
    assert not (judged.hit & judged.missed).any()
    overlap = box_iou(*(torch.from_numpy(boxes).double() for boxes in (guesses.boxes, truth.boxes))).numpy()
    for kind, row in zip(judged.kind, overlap, strict=True):
        most = row.max(initial=0)
        assert (most < 0.1) == (kind == "background"), (kind, row)
        if kind in ("", "classification", "duplicate"):
            assert most >= 0.5


def test_ignored_objects_are_no_errors_and_others_count_as_written() -> None:
    """A crowd with two detections, an object that reaches beyond the image, one without area."""
    boxes = np.array([(0, 0, 100, 100), (350, 350, 450, 450), (200, 10, 200, 60)], np.float64)
    areas = np.array([1e4, 1e4, 0])
    written = Objects(boxes, np.array([0, 0, 1]), areas, np.array([True, False, False]))
    clipped = sample((350, 350, 400, 400, 0))
    truth = replace(clipped, written=written)
    guesses = found((10, 10, 50, 50, 0.9, 0), (0, 0, 100, 90, 0.8, 0), (350, 350, 400, 400, 0.7, 0))
    judged = judge(truth, guesses)
    assert judged.kind.tolist() == ["ignored", "ignored", "localisation"]  # IoU .25 with the whole object
    assert judged.missed.tolist() == [False, True]
    errors = {error.kind: error for error in error_analysis([truth], [guesses], NAMES)}
    assert {kind: error.count for kind, error in errors.items() if error.count} == {"localisation": 1, "missed": 1}
    assert errors["localisation"].ap50 == pytest.approx(0.5)  # of two classes, one is found
    assert judge(clipped, guesses).kind.tolist()[2] == ""
