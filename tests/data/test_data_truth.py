"""The objects that detections are scored against are those of the label file; what to train on is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from effscope.data.check import fault_lines
from effscope.data.classes import matched
from effscope.data.load import load
from effscope.data.record import Fault
from effscope.data.sample import DataSet, Sample
from effscope.data.write import write_yolo
from effscope.errors import EffscopeError
from effscope.progress import unsaid

SIDE = (100, 80)
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def coco(
    root: Path, rows: list[dict[str, Any]], categories: list[dict[str, Any]] = CATEGORIES, **files: Any
) -> DataSet:
    """A COCO set of one image a.png with id 1, or of `files`: name without suffix -> id."""
    images = files or {"a": 1}
    (root / "images" / "val").mkdir(parents=True)
    for name in images:
        Image.new("RGB", SIDE).save(root / "images" / "val" / f"{name}.png")
    listed = [{"id": key, "file_name": f"{name}.png"} for name, key in images.items()]
    every = [{"image_id": 1, "category_id": 1} | row for row in rows]
    (root / "val.json").write_text(json.dumps({"images": listed, "annotations": every, "categories": categories}))
    return load(str(root), "val")


def test_scored_as_written_and_trained_on_inside_the_picture(tmp_path: Path) -> None:
    rows = [
        {"bbox": [10, 10, 20, 20], "area": 50},
        {"bbox": [90, 70, 30, 30], "area": 900},
        {"bbox": [40, 40, 0, 9], "area": 0},
        {"bbox": [200, 10, 5, 5], "area": 25},
        {"bbox": [10, 10, 20, 20], "area": 60},
        {"bbox": [50, 10, 20, 20], "iscrowd": 1},
    ]
    data = coco(tmp_path, rows)
    (sample,) = data.samples
    assert sample.boxes.tolist() == [[10, 10, 30, 30], [90, 70, 100, 80]]
    assert sample.truth.boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h in (row["bbox"] for row in rows)]
    assert sample.truth.areas.tolist() == [50, 900, 0, 25, 60, 400]
    assert sample.truth.ignored.tolist() == [False] * 5 + [True]
    said = "\n".join(fault_lines(data))
    for line in (
        "box partly outside the image: 1, clipped for training, scored as written (e.g. a.png: cat [90, 70, 120, 100])",
        "zero-area box: 1, dropped for training, scored as written",
        "box outside the image: 1, dropped for training, scored as written",
        "duplicate box: 1, one kept for training",
        "crowd box: 1, not trained on, and detections in it are not scored",
    ):
        assert line in said


def test_equal_rows_of_yolo_are_one_object(tmp_path: Path) -> None:
    pixels = np.zeros((SIDE[1], SIDE[0], 3), np.uint8)
    box = np.array([[10, 10, 30, 30]], np.float32)
    sample = Sample(pixels, SIDE, box, np.array([0]), "a")
    data = write_yolo([DataSet("made", "val", ("cat",), (sample,))], tmp_path / "set")
    (text,) = (tmp_path / "set" / "labels" / "val").glob("*.txt")
    text.write_text(text.read_text() * 2 + "0 1 0.5 0.2 0.2\n")
    (found,) = load(str(data), "val").samples
    assert np.round(found.boxes).tolist() == [[10, 10, 30, 30], [90, 32, 100, 48]]
    assert np.round(found.truth.boxes).tolist() == [[10, 10, 30, 30], [90, 32, 110, 48]]


@pytest.mark.parametrize("flag", [0, False, None, "0", "false", "", 0.0])
def test_flags_that_are_not_set(flag: Any, tmp_path: Path) -> None:
    data = coco(tmp_path, [{"bbox": [1, 1, 9, 9], "iscrowd": flag}])
    assert not data.faults
    assert len(data.samples[0].boxes) == 1


@pytest.mark.parametrize("flag", [1, True, "1", "true", 1.0])
def test_flags_that_are_set(flag: Any, tmp_path: Path) -> None:
    data = coco(tmp_path, [{"bbox": [1, 1, 9, 9], "iscrowd": flag}, {"bbox": [20, 1, 9, 9]}])
    assert data.faults == {Fault.CROWD.value: 1}


def test_an_id_of_two_files_is_said_and_its_images_are_dropped(tmp_path: Path) -> None:
    rows = [{"bbox": [1, 1, 9, 9]}, {"bbox": [20, 1, 9, 9], "image_id": 2}]
    data = coco(tmp_path, rows, a=1, b=1, c=2)
    assert [sample.name for sample in data.samples] == ["c.png"]
    (line,) = fault_lines(data)
    assert line == (
        "image id of several files: 1, all of them dropped, because their boxes cannot be told apart "
        "(e.g. id 1: a.png, b.png)"
    )
    with pytest.raises(EffscopeError, match=r"1 x image id of several files.*: give each image an id of its own"):
        coco(tmp_path / "other", rows[:1], a=1, b=1)


def test_categories_of_one_name_are_told_apart_and_said(tmp_path: Path) -> None:
    categories = [{"id": 3, "name": "cat"}, {"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    data = coco(tmp_path, [{"bbox": [1, 1, 9, 9]}, {"bbox": [30, 1, 9, 9], "category_id": 3}], categories)
    assert data.classes == ("cat (1)", "dog", "cat (3)")
    assert fault_lines(data) == [
        "class name of several categories: 1, the ids added to the name (e.g. 'cat' has the ids 1, 3)"
    ]


@pytest.mark.parametrize(
    ("ids", "own", "found"),
    [
        ([7], "7", 7),
        (["7"], 7, "7"),
        ([7], 7.0, 7),
        ([7.0], "7", 7.0),
        (["07", "7"], 7, "7"),
        (["a.0", "a"], "a.0", "a.0"),
        ([2**60, 2**60 + 1], str(2**60 + 1), 2**60 + 1),
    ],
)
def test_annotations_with_ids_as_text_find_their_image(ids: list[Any], own: Any, found: Any, tmp_path: Path) -> None:
    files = {f"f{n}": key for n, key in enumerate(ids)}
    data = coco(tmp_path, [{"bbox": [1, 1, 9, 9], "image_id": own}], **files)
    assert {sample.key for sample in data.samples if len(sample.boxes)} == {found}


@pytest.mark.parametrize(("ids", "own"), [(["7", 7.0], "7.00"), (["a"], "a.0"), ([1], None), ([1], "x")])
def test_annotations_of_no_image_are_dropped_and_said(ids: list[Any], own: Any, tmp_path: Path) -> None:
    files = {f"f{n}": key for n, key in enumerate(ids)}
    rows = [{"bbox": [1, 1, 9, 9], "image_id": own}, {"bbox": [1, 1, 9, 9], "image_id": ids[0]}]
    assert coco(tmp_path, rows, **files).faults == {Fault.UNLISTED_IMAGE.value: 1}


def test_names_that_another_reader_of_yaml_has_changed(tmp_path: Path) -> None:
    """Ultralytics calls the class `no` False: a model that it trained and the data are one."""
    data = coco(
        tmp_path, [{"bbox": [1, 1, 9, 9], "category_id": 2}], [{"id": 1, "name": "hat"}, {"id": 2, "name": "no"}]
    )
    said: list[str] = []
    found = matched(data, ("False", "hat"), "best.pt", said.append)
    assert said == ["val: 'no' is 'False' of best.pt"]
    assert found.classes == ("False", "hat")
    assert found.samples[0].labels.tolist() == found.samples[0].truth.labels.tolist() == [0]
    assert found.category_ids == {"hat": 1, "False": 2}
    assert matched(data, ("no", "hat", "False"), "best.pt", unsaid).samples[0].labels.tolist() == [0]
