"""Intervals over the choice of images: how often they hold the true difference of two simulated detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from effscope.detect.resampling import IOUS, Matches
from effscope.searching.evidence import Run
from effscope.searching.rules import compared

IMAGES, DRAWS, POPULATION, CLASSES = 120, 1000, 240_000, 2
RESAMPLES = 60
Z95 = 1.959964


@dataclass(frozen=True)
class Detector:
    """How well a simulated detector places its boxes, and how many false ones it has per image."""

    skill: float
    spread: float
    stray: float


GOOD, WORSE = Detector(0.86, 0.08, 0.6), Detector(0.83, 0.10, 0.9)


def drawn(random: np.random.Generator, images: int) -> tuple[Matches, Matches]:
    """Matches of both detectors on the same images: hard images are hard for both."""
    boxes = 1 + random.poisson(2.0, images)
    owner = np.repeat(np.arange(images), boxes)
    label = random.integers(0, CLASSES, len(owner))
    truths = np.zeros((images, CLASSES), np.int64)
    np.add.at(truths, (owner, label), 1)
    difficulty = random.normal(0, 0.06, images)[owner] + random.normal(0, 0.05, len(owner))
    return (
        _found(random, GOOD, owner, label, difficulty, truths),
        _found(random, WORSE, owner, label, difficulty, truths),
    )


def _found(
    random: np.random.Generator,
    detector: Detector,
    owner: np.ndarray,
    label: np.ndarray,
    difficulty: np.ndarray,
    truths: np.ndarray,
) -> Matches:
    overlap = detector.skill - difficulty + random.normal(0, detector.spread, len(owner))
    n_stray = random.poisson(detector.stray, len(truths))
    strays = np.repeat(np.arange(len(truths)), n_stray)
    image = np.concatenate((owner, strays))
    order = np.argsort(image, kind="stable")
    hit = np.vstack((overlap[:, None] >= IOUS, np.zeros((len(strays), len(IOUS)), bool)))
    score = np.concatenate((overlap + random.normal(0, 0.1, len(owner)), random.normal(0.45, 0.15, len(strays))))
    labels = np.concatenate((label, random.integers(0, CLASSES, len(strays))))
    return Matches(image[order], labels[order], score[order], hit[order], np.zeros_like(hit), truths)


@pytest.fixture(scope="module")
def true_difference() -> float:
    good, worse = drawn(np.random.default_rng(1), POPULATION)
    return worse.ap() - good.ap()


def covered(intervals: list[tuple[float, float]], truth: float) -> float:
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Matches, Matches]]:
    random = np.random.default_rng(0)
    return [drawn(random, IMAGES) for _ in range(DRAWS)]


@pytest.mark.slow
def test_the_interval_over_images_holds_the_true_difference(
    pairs: list[tuple[Matches, Matches]], true_difference: float
) -> None:
    found = []
    for good, worse in pairs:
        arms = [(Run(side.ap(), side.left_out()),) for side in (good, worse)]
        ci = compared(*arms, margin=0.01)[0].ci
        assert ci is not None
        found.append(ci)
    assert 0.93 <= covered(found, true_difference) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("once", "holds"), [(False, True), (True, False)])
def test_a_bootstrap_that_counts_a_drawn_image_once_is_too_narrow(
    pairs: list[tuple[Matches, Matches]], true_difference: float, once: bool, holds: bool
) -> None:
    random, found = np.random.default_rng(2), []
    for good, worse in pairs:
        differences = []
        for _ in range(RESAMPLES):
            weights = np.bincount(random.integers(0, IMAGES, IMAGES), minlength=IMAGES).astype(float)
            if once:
                weights = np.minimum(weights, 1.0)
            differences.append(worse.ap(weights) - good.ap(weights))
        delta, reach = worse.ap() - good.ap(), Z95 * float(np.std(differences, ddof=1))
        found.append((delta - reach, delta + reach))
    assert (0.93 <= covered(found, true_difference) <= 0.97) == holds
