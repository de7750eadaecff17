"""Drawn examples: the legend, the cut, and the names of missed objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effscope.data.sample import DataSet, Sample
from effscope.detect.draw import COLOURS, INK, LEGEND, TRUTH, draw, with_legend
from effscope.detect.examples import write_examples
from effscope.detect.predict import Detections

NAMES = ("cell", "dust")


def sample(size: tuple[int, int] = (640, 480)) -> Sample:
    boxes = np.array([(100, 100, 200, 200), (400, 300, 500, 400)], np.float32)
    return Sample(np.full((size[1], size[0], 3), 90, np.uint8), size, boxes, np.array([0, 1]), "a.jpg")


def found(*scores: float) -> Detections:
    """Detections of the first object, and far from any."""
    boxes = np.array([(100, 100, 200, 200), (20, 300, 80, 360)], np.float32)[: len(scores)]
    return Detections(boxes, np.array(scores, np.float32), np.zeros(len(scores), np.int64))


def count(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((pixels == colour).all(-1).sum())


@pytest.mark.parametrize("size", [(640, 480), (200, 900), (1500, 300)])
def test_the_legend_is_below_the_image_and_shows_both_lines(size: tuple[int, int]) -> None:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    plain = draw(image, found(), NAMES)
    made = with_legend(plain, 0.3)
    wide, high = plain.size
    assert made.size[0] == wide and high < made.size[1] < high + 400
    assert (np.asarray(made)[:high] == np.asarray(plain)).all()
    strip = np.asarray(made)[high:]
    assert count(strip, LEGEND) > strip.shape[0] * strip.shape[1] / 2
    assert count(strip, COLOURS[0]) and count(strip, TRUTH)
    assert not count(strip[:, -5:], TRUTH)  # the text ends inside
    assert (np.asarray(with_legend(plain, 0.9))[high:] != strip).any()  # it says the cut


def test_a_missed_object_has_its_name_and_a_found_one_has_not() -> None:
    data = sample()
    shown = np.asarray(draw(data.image, found(0.9), NAMES, data, missed=np.array([False, True])))  # type: ignore[arg-type]
    bare = np.asarray(draw(data.image, found(0.9), NAMES, data))  # type: ignore[arg-type]
    changed = (shown != bare).any(-1)
    assert changed[370:401, 395:500].any() and not changed[:300].any()
    assert count(shown[370:401, 395:500], INK) and count(shown[370:401, 395:500], TRUTH)


def test_pictures_show_what_is_above_the_cut(tmp_path: Path) -> None:
    data = DataSet("made", "val", NAMES, (sample(),))
    for cut, stray in ((0.5, False), (0.2, True), (None, True), (0.0, True)):
        files = write_examples(tmp_path / str(cut), data, [found(0.9, 0.4)], [0.5], NAMES, cut)
        pixels = np.asarray(Image.open(files["picture_00"]))
        assert pixels.shape[0] > 480 and pixels.shape[1] == 640
        assert bool(count(pixels[280:370, 10:90], COLOURS[0])) == stray
        assert count(pixels[90:210, 90:210], COLOURS[0])
