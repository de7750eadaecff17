"""AP from stored matches against the scorer, on the whole split and on reweighted images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.data.sample import Sample
from effscope.detect.evaluate import score
from effscope.detect.predict import NOTHING, Detections
from effscope.detect.resampling import Matches, match

NAMES = ("a", "b", "c")
Split = tuple[list[Sample], list[Detections]]


def split(seed: int, n: int, stray: int = 5) -> Split:
    """Images with 0-6 boxes, noisy detections and false ones; some images have no true box or no detection."""
    random = np.random.default_rng(seed)
    samples, guesses = [], []
    for k in range(n):
        m = int(random.integers(0, 7))
        low = random.uniform(0, 300, (m, 2))
        boxes = np.hstack((low, low + random.uniform(8, 160, (m, 2)))).astype(np.float32)
        labels = random.integers(0, 3, m)
        samples.append(Sample(Path(f"{k}.jpg"), (640, 480), boxes, labels))
        twice = np.repeat(boxes, 2, 0) + random.normal(0, 5, (2 * m, 4)).astype(np.float32)
        twice[:, 2:] = np.maximum(twice[:, 2:], twice[:, :2] + 1)
        corner = random.uniform(0, 300, (stray, 2))
        wrong = np.hstack((corner, corner + random.uniform(5, 120, (stray, 2)))).astype(np.float32)
        every = np.vstack((twice, wrong)).astype(np.float32)
        scores = random.permutation(1000)[: len(every)].astype(np.float32) / 1000 + np.float32(k * 1e-6)
        named = np.concatenate((np.repeat(labels, 2), random.integers(0, 3, stray)))
        guesses.append(NOTHING if k % 7 == 6 else Detections(every, scores, named))
    return samples, guesses


def matches(made: Split) -> Matches:
    return match(*made, len(NAMES))


def ap(made: Split, which: list[int]) -> float:
    return score([made[0][k] for k in which], [made[1][k] for k in which], NAMES).ap


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_the_whole_split_equals_the_scorer(seed: int, n: int) -> None:
    made = split(seed, n)
    assert matches(made).ap() == pytest.approx(ap(made, list(range(n))), abs=1e-9)


@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(0, 1), min_size=8, max_size=8))
@settings(max_examples=40, deadline=None)
def test_leaving_images_out_equals_scoring_without_them(seed: int, counts: list[int]) -> None:
    made = split(seed, 8)
    kept = [k for k, n in enumerate(counts) if n]
    expected = ap(made, kept) if kept else 0.0
    assert matches(made).ap(np.array(counts, float)) == pytest.approx(expected, abs=1e-9)


def test_a_image_counted_twice_equals_two_of_it() -> None:
    made = split(3, 8)
    twice = ap(made, [0, 1, 2, 2, 3, 4, 5, 6, 7])
    weights = np.ones(8)
    weights[2] = 2
    assert matches(made).ap(weights) == pytest.approx(twice, abs=0.02)  # equal scores are in another order


def test_each_image_equals_scoring_it_alone() -> None:
    made = split(5, 12)
    for k, value in enumerate(matches(made).per_image()):
        if len(made[0][k].boxes):
            assert value == pytest.approx(ap(made, [k]), abs=1e-9)
        else:
            assert value is None


def test_only_the_best_hundred_detections_of_a_class_count() -> None:
    made = split(1, 3, stray=400)
    assert matches(made).ap() == pytest.approx(ap(made, [0, 1, 2]), abs=1e-9)


def test_standard_error_equals_a_jackknife_with_the_scorer() -> None:
    made, groups = split(2, 10), 5
    left = [ap(made, [k for k in range(10) if k % groups != g]) for g in range(groups)]
    by_hand = np.sqrt((groups - 1) / groups * np.sum((np.array(left) - np.mean(left)) ** 2))
    found = matches(made)
    assert found.standard_error(groups=groups) == pytest.approx(by_hand, abs=1e-9)
    assert found.standard_error(found) == 0  # a detector does not differ from itself


def test_standard_error_predicts_the_spread_over_other_images() -> None:
    """Twenty splits of 60 similar images: the mean of the jackknife and the true spread agree."""
    everything = split(9, 1200)
    truth, found = everything
    estimates, values = list[float](), list[float]()
    for k in range(20):
        part = matches((truth[60 * k : 60 * k + 60], found[60 * k : 60 * k + 60]))
        values.append(part.ap())
        estimates.append(part.standard_error() or 0.0)
    assert np.mean(estimates) == pytest.approx(np.std(values, ddof=1), rel=0.5)


def test_no_detections_and_no_true_boxes() -> None:
    samples, _ = split(0, 4)
    assert match(samples, [NOTHING] * 4, 3).ap() == 0
    empty = Sample(Path("none.jpg"), (10, 10), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    alone = match([empty], [NOTHING], 3)
    assert alone.ap() == 0
    assert alone.per_image() == [None]
    assert alone.standard_error() is None


def test_equal_scores_count_in_the_order_of_the_keys() -> None:
    """As cocoeval: it sorts its images by their ids, whatever the order of the file is."""
    box, other = np.array([[10, 10, 50, 50]], np.float32), np.array([[200, 200, 260, 260]], np.float32)
    right, wrong = (Detections(b, np.array([0.5], np.float32), np.array([0])) for b in (box, other))
    for keys, expected in (((2, 10), 1.0), ((10, 2), 0.5), (("2", "10"), 0.5), ((None, None), 1.0)):
        samples = [
            Sample(Path("a.jpg"), (640, 480), box[:n], np.zeros(n, np.int64), key=key)
            for n, key in zip((1, 0), keys, strict=True)
        ]
        found = match(samples, [right, wrong], 1)
        assert found.ap() == pytest.approx(score(samples, [right, wrong], NAMES).ap, abs=1e-9)
        assert found.ap() == pytest.approx(expected)
        assert found.per_image() == [pytest.approx(1), None]
