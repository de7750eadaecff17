"""Folders of images without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.small_detector import coloured_squares

from effscope.data.load import load, load_images
from effscope.data.write import write_yolo
from effscope.errors import EffscopeError

CLASSES = ("a", "b")


def filled(folder: Path, n: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n):
        Image.fromarray(np.full((8, 12, 3), k, np.uint8)).save(folder / f"{k:02}.png")
    return folder


def names(data: Path, split: str, limit: int | None = None) -> list[str]:
    return [sample.name for sample in load_images(str(data), split, CLASSES, limit).samples]


def test_every_fifth_image_of_a_plain_folder_is_for_validation(tmp_path: Path) -> None:
    folder = filled(tmp_path / "photos", 12)
    assert names(folder, "val") == ["04.png", "09.png"]
    assert names(folder, "train") == [f"{k:02}.png" for k in range(12) if k not in (4, 9)]
    found = load_images(str(folder), "train", CLASSES)
    assert found.classes == CLASSES
    assert all(sample.boxes.shape == (0, 4) and sample.size == (12, 8) for sample in found.samples)
    assert len(names(folder, "train", 3)) == 3


@pytest.mark.parametrize("parent", [".", "images"])
@pytest.mark.parametrize(
    ("train", "val"), [("train", "val"), ("train", "valid"), ("training", "validation"), ("Train", "Test")]
)
def test_folders_name_the_splits(tmp_path: Path, parent: str, train: str, val: str) -> None:
    for split, n in ((train, 3), (val, 2), ("more", 9)):
        filled(tmp_path / parent / split, n)
    assert len(names(tmp_path, "train")) == 3
    assert len(names(tmp_path, "val")) == 2


@pytest.mark.parametrize("folders", [("train",), ("train", "extra"), ("val", "photos"), ("images/train", "other")])
def test_no_image_is_in_both_splits(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        filled(tmp_path / folder, 10)
    train, val = names(tmp_path, "train"), names(tmp_path, "val")
    assert not set(train) & set(val)
    assert len(val) == 2 * len(folders)
    assert len(train) == 8 * len(folders)


def test_the_labels_of_a_data_set_are_ignored(tmp_path: Path) -> None:
    data = write_yolo([coloured_squares(4), coloured_squares(3, "val", seed=1)], tmp_path / "data")
    labelled, bare = load(str(data), "train"), load_images(str(data), "train", CLASSES)
    assert [sample.name for sample in bare.samples] == [sample.name for sample in labelled.samples]
    assert not any(len(sample.boxes) for sample in bare.samples)
    for file in (tmp_path / "data").rglob("*.txt"):
        file.write_text("9 9 9 9 9\n")
    assert load_images(str(data), "train", CLASSES).digest == bare.digest
    assert not load_images(str(data), "train", CLASSES).faults


def test_what_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    folder = filled(tmp_path / "few", 3)
    with pytest.raises(EffscopeError, match="no image for the split 'val': at least 5 images"):
        names(folder, "val")
    filled(tmp_path / "half" / "train", 9)
    filled(tmp_path / "half" / "val", 0)
    with pytest.raises(EffscopeError, match="half/val is empty"):
        names(tmp_path / "half", "val")
    with pytest.raises(EffscopeError, match="has no labels: a search takes it with `labels` none"):
        load(f"images:{folder}", "train")
    with pytest.raises(EffscopeError, match="has images: a search takes them with `labels` none"):
        load(str(folder), "train")
    with pytest.raises(EffscopeError, match="does not exist"):
        names(tmp_path / "nowhere", "train")
    broken = tmp_path / "broken"
    broken.mkdir()
    for k in range(5):
        (broken / f"{k}.png").write_bytes(b"no image")
    with pytest.raises(EffscopeError, match="broken"):
        names(broken, "train")
