"""The confusion matrix: hand cases, and sums that hold for any detections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.data.sample import Objects, Sample
from effscope.detect.confusion import confusion
from effscope.detect.error_analysis import error_analysis
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections
from effscope.detect.resampling import match
from effscope.results import Confusion

NAMES = ("cell", "dust", "hair")
Row = tuple[float, ...]
A, B = (0, 0, 100, 100), (200, 200, 300, 300)


def sample(*rows: Row) -> Sample:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Sample(Path("none.jpg"), (400, 400), table[:, :4], table[:, 4].astype(np.int64))


def found(*rows: Row) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def matrix(truth: Sample, guesses: Detections, cut: float = 0.25, named: tuple[str, ...] = NAMES) -> Confusion:
    return confusion([truth], [guesses], NAMES, cut, named)[0]


def cells(made: Confusion) -> dict[tuple[str, str], int]:
    names = (*made.classes, "-")
    return {(names[i], names[j]): n for i, row in enumerate(made.counts) for j, n in enumerate(row) if n}


TRUTH = sample((*A, 0), (*B, 1))
CASES: dict[str, tuple[tuple[Row, ...], dict[tuple[str, str], int]]] = {
    "both found": (((*A, 0.9, 0), (*B, 0.8, 1)), {("cell", "cell"): 1, ("dust", "dust"): 1}),
    "another class": (((*A, 0.9, 2), (*B, 0.8, 1)), {("cell", "hair"): 1, ("dust", "dust"): 1}),
    "nothing": ((), {("cell", "-"): 1, ("dust", "-"): 1}),
    "below the cut": (((*A, 0.2, 0), (*B, 0.8, 1)), {("cell", "-"): 1, ("dust", "dust"): 1}),
    "at the cut": (((*A, 0.25, 0), (*B, 0.8, 1)), {("cell", "cell"): 1, ("dust", "dust"): 1}),
    "beside": (((0, 0, 100, 45, 0.9, 0), (*B, 0.8, 1)), {("cell", "-"): 1, ("-", "cell"): 1, ("dust", "dust"): 1}),
    "twice": (((*A, 0.9, 0), (*A, 0.8, 0), (*B, 0.8, 1)), {("cell", "cell"): 1, ("-", "cell"): 1, ("dust", "dust"): 1}),
    "own class though another is surer": (
        ((*A, 0.9, 2), (*A, 0.8, 0), (*B, 0.8, 1)), {("cell", "cell"): 1, ("-", "hair"): 1, ("dust", "dust"): 1},
    ),
    "of two others the surer": (
        ((*A, 0.7, 2), (*A, 0.9, 1), (*B, 0.8, 1)), {("cell", "dust"): 1, ("-", "hair"): 1, ("dust", "dust"): 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_by_hand(case: str) -> None:
    rows, expected = CASES[case]
    made = matrix(TRUTH, found(*rows))
    assert cells(made) == expected
    assert (made.score, made.iou, made.classes) == (0.25, 0.5, NAMES)


def test_pairs_are_listed_by_count_and_sums_are_said() -> None:
    truth = [sample((*A, 0), (*B, 1))] * 3
    guesses = [found((*A, 0.9, 1), (*B, 0.9, 2)), found((*A, 0.9, 1)), found((*A, 0.9, 0), (300, 0, 350, 50, 0.9, 0))]
    made = confusion(truth, guesses, NAMES, 0.5, NAMES)[0]
    assert made.pairs() == (("cell", "dust", 2), ("dust", "hair", 1))
    assert (made.missed, made.false) == (2, 1)


def test_detections_of_classes_that_the_data_does_not_have_are_no_errors() -> None:
    rows = ((*A, 0.9, 0), (300, 0, 350, 50, 0.9, 2))
    assert cells(matrix(TRUTH, found(*rows), named=("cell", "dust"))) == {("cell", "cell"): 1, ("dust", "-"): 1}
    assert matrix(TRUTH, found(*rows), named=("cell", "dust")).classes == ("cell", "dust")
    assert matrix(TRUTH, found(*rows), named=("other",)).classes == ("cell", "dust")  # they have boxes
    beyond = ((*A, 0.9, 0), (*B, 0.9, 7))  # a model with more outputs than names
    assert cells(matrix(TRUTH, found(*beyond))) == {("cell", "cell"): 1, ("dust", "-"): 1}


def test_a_detection_in_a_crowd_is_in_no_cell() -> None:
    written = Objects(np.array([A, B], np.float64), np.array([0, 1]), np.array([1e4, 1e4]), np.array([True, False]))
    truth = Sample(Path("none.jpg"), (400, 400), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), "", written)
    made = matrix(truth, found((10, 10, 40, 40, 0.9, 0), (*B, 0.8, 1)))
    assert cells(made) == {("dust", "dust"): 1}


boxes = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(5, 25), st.integers(5, 25)).map(
    lambda b: (10 * b[0], 10 * b[1], 10 * (b[0] + b[2]), 10 * (b[1] + b[3]))
)
true_rows = st.lists(st.tuples(boxes, st.integers(0, 2)).map(lambda t: (*t[0], t[1])), max_size=6)
found_rows = st.lists(
    st.tuples(boxes, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.integers(0, 2)).map(lambda t: (*t[0], *t[1:])),
    max_size=8,
)


@settings(deadline=None, max_examples=150)
@given(true_rows, found_rows, st.sampled_from([0.2, 0.6]))
def test_sums_of_rows_columns_and_diagonal(truth_rows: list[Row], rows: list[Row], cut: float) -> None:
    """Every box is in its row, every detection above the cut in its column, every hit on the diagonal."""
    truth, guesses = sample(*truth_rows), found(*rows)
    counts = np.array(matrix(truth, guesses, cut).counts)
    assert counts[-1, -1] == 0
    assert counts[:-1].sum(1).tolist() == np.bincount(truth.labels, minlength=3).tolist()
    above = guesses.scores >= np.float32(cut)
    assert counts[:, :-1].sum(0).tolist() == np.bincount(guesses.labels[above], minlength=3).tolist()
    matches = match([truth], [guesses], 3)
    hits = matches.hit[:, 0] & (matches.score >= cut)
    assert counts.diagonal()[:-1].tolist() == np.bincount(matches.label[hits], minlength=3).tolist()


def test_errors_are_counted_at_the_cut_too_and_the_base_is_not_scored_again() -> None:
    guesses = found((*A, 0.9, 2), (*B, 0.8, 1), (300, 0, 350, 50, 0.1, 1))
    judged = confusion([TRUTH], [guesses], NAMES, 0.25, NAMES)[1]
    base = score([TRUTH], [guesses], NAMES)
    errors = {e.kind: e for e in error_analysis([TRUTH], [guesses], NAMES, base, judged)}
    assert (errors["classification"].count, errors["classification"].at_cut) == (1, 1)
    assert (errors["background"].count, errors["background"].at_cut) == (1, 0)
    plain = error_analysis([TRUTH], [guesses], NAMES)
    assert [(e.count, e.d_ap, e.at_cut) for e in plain] == [(e.count, e.d_ap, None) for e in errors.values()]
