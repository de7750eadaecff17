"""Drawn examples: the legend, the cut, and the names of missed objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from effscope.data.sample import DataSet, Sample
from effscope.detect.draw import COLOURS, INK, LEGEND, TRUTH, draw, with_legend
from effscope.detect.examples import write_examples
from effscope.detect.labels import Area, Label, places, write_labels
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


def overlap(a: Area, b: Area) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


@pytest.mark.parametrize(
    "boxes",
    [
        [(100, 100, 300, 300)] * 4,  # above, below, inside at the top, inside at the bottom
        [(100, 100, 300, 300), (105, 96, 290, 280), (98, 104, 310, 290)],
        [(0, 0, 640, 480), (2, 2, 600, 470), (0, 0, 400, 478)],  # no room above or below
        [(500, 200, 640, 300), (560, 204, 640, 290)],  # at the right edge
    ],
)
def test_labels_do_not_cover_each_other_where_there_is_room(boxes: list[Area]) -> None:
    drawing = Image.new("RGB", (640, 480))
    labels = [Label(f"person 0.{n}8", box, COLOURS[n], TRUTH) for n, box in enumerate(boxes)]
    areas = write_labels(ImageDraw.Draw(drawing), labels, ImageFont.load_default(13))
    assert not any(overlap(a, b) for n, a in enumerate(areas) for b in areas[:n])
    assert all(a[0] >= 0 and a[1] >= 0 and a[2] <= 640 and a[3] <= 480 for a in areas)
    pixels = np.asarray(drawing)
    assert all(count(pixels, label.ground) > 20 for label in labels)


@given(st.lists(st.tuples(*[st.integers(-20, 300)] * 2, *[st.integers(0, 200)] * 2), max_size=12), st.booleans())
def test_a_label_stays_in_the_drawing_and_the_first_has_the_best_place(
    corners: list[tuple[int, int, int, int]], below: bool
) -> None:
    pen = ImageDraw.Draw(Image.new("RGB", (320, 240)))
    labels = [Label("cell 0.50", (x, y, x + w, y + h), INK, TRUTH, below) for x, y, w, h in corners]
    areas = write_labels(pen, labels, ImageFont.load_default(11))
    assert len(areas) == len(labels)
    for label, area in zip(labels, areas, strict=True):
        size = area[2] - area[0], area[3] - area[1]
        assert area[0] >= 0 and area[1] >= 0 and area[2] <= 320 and area[3] <= 240
        options = list(places(label, size, (320, 240)))
        assert area in options and (label is not labels[0] or area == options[0])


def test_the_surest_detection_is_labelled_first() -> None:
    boxes = np.array([(100, 100, 300, 300)] * 2, np.float32)
    image = np.full((480, 640, 3), 90, np.uint8)
    for scores in ((0.3, 0.9), (0.9, 0.3)):
        best = int(np.argmax(scores))
        shown = Detections(boxes, np.array(scores, np.float32), np.array([0, 1]))
        pixels = np.asarray(draw(image, shown, NAMES))
        assert count(pixels[80:100, 100:200], COLOURS[best]) > 100  # above its box
        assert not count(pixels[80:99, 100:200], COLOURS[1 - best])
        assert count(pixels[302:325, 100:200], COLOURS[1 - best]) > 100  # below


def test_pictures_show_what_is_above_the_cut(tmp_path: Path) -> None:
    data = DataSet("made", "val", NAMES, (sample(),))
    for cut, stray in ((0.5, False), (0.2, True), (None, True), (0.0, True)):
        files = write_examples(tmp_path / str(cut), data, [found(0.9, 0.4)], [0.5], NAMES, cut)
        pixels = np.asarray(Image.open(files["picture_00"]))
        assert pixels.shape[0] > 480 and pixels.shape[1] == 640
        assert bool(count(pixels[280:370, 10:90], COLOURS[0])) == stray
        assert count(pixels[90:210, 90:210], COLOURS[0])
