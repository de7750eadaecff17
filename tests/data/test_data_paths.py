"""Where data sets have their files: every arrangement that is known from real data loads without a fault."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effscope.config import BUILTIN_SHAPES
from effscope.data.check import fault_lines
from effscope.data.load import load, load_images
from effscope.data.naming import look_up_data
from effscope.data.record import Fault
from effscope.data.sample import DataSet
from effscope.data.write import write_coco, write_voc, write_yolo
from effscope.errors import EffscopeError

N_IMAGES = 6


@pytest.fixture(scope="module")
def drawn() -> list[DataSet]:
    return [load(BUILTIN_SHAPES, split, limit=N_IMAGES) for split in ("train", "val")]


VOC_PLACES = {
    "flat": ("{}.jpg", "{}.xml"),
    "split folders": ("images/train/{}.jpg", "annotations_voc/{}.xml"),
    "both split": ("JPEGImages/train/{}.jpg", "Annotations/train/{}.xml"),
    "split, then kind": ("train/JPEGImages/{}.jpg", "train/Annotations/{}.xml"),
    "next to the images": ("images/train/{}.jpg", "images/train/{}.xml"),
    "only the labels split": ("images/{}.jpg", "annotations/train/{}.xml"),
    "odd subfolder": ("images/day/{}.jpg", "annotations/{}.xml"),
}


@pytest.mark.parametrize(("image", "xml"), VOC_PLACES.values(), ids=VOC_PLACES)
def test_voc_files_are_found(image: str, xml: str, drawn: list[DataSet], tmp_path: Path) -> None:
    source = write_voc(drawn, tmp_path / "set")
    for file in sorted(source.glob("Annotations/*.xml")):
        for path, old in ((image, source / f"JPEGImages/{file.stem}.png"), (xml, file)):
            new = tmp_path / "moved" / path.format(file.stem)
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new.with_suffix(old.suffix))
    dataset = load(str(tmp_path / "moved"), "train")
    assert not dataset.faults
    assert all(len(sample.boxes) for sample in dataset.samples)
    is_drawn = not any("train" in path for path in (image, xml))
    assert len(dataset.samples) == (10 if is_drawn else 2 * N_IMAGES)
    if is_drawn:
        names = {sample.name for split in ("train", "val") for sample in load(str(tmp_path / "moved"), split).samples}
        assert len(names) == 2 * N_IMAGES
        assert load(str(tmp_path / "moved"), "train", seed=3).digest != dataset.digest


WRITERS: dict[str, Callable[..., Path]] = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("place", ["a", "deep/er/set"])
def test_the_only_set_below_a_folder_is_read_and_named(
    kind: str, place: str, drawn: list[DataSet], tmp_path: Path
) -> None:
    made = WRITERS[kind](drawn, tmp_path / place)
    (tmp_path / "other" / "empty").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path)
    own, found = load(str(made), "val"), load(str(tmp_path), "val")
    assert (found.digest, dict(own.faults), dict(found.faults)) == (own.digest, {}, {Fault.FOUND_BELOW.value: 1})
    assert fault_lines(found) == [
        f"data set in a subfolder: 1, used (e.g. {tmp_path} is no data set, {tmp_path / place} is read)"
    ]
    images = load_images(str(tmp_path), "val", ())
    assert {Fault.FOUND_BELOW.value: 1} == dict(images.faults) and len(images.samples) == len(own.samples)


def test_a_folder_of_several_sets_is_refused_and_names_them(drawn: list[DataSet], tmp_path: Path) -> None:
    for place, write in (("cells", write_coco), ("more/boards", write_yolo), ("more/cars", write_voc)):
        write(drawn, tmp_path / place)
    with pytest.raises(EffscopeError, match=r"holds 3 data sets: cells, more/boards, more/cars: name one of them$"):
        load(str(tmp_path), "val")
    with pytest.raises(EffscopeError, match="holds 3 data sets"):
        look_up_data(str(tmp_path))
    assert load(f"coco:{tmp_path}", "val").digest == load(str(tmp_path / "cells"), "val").digest
    write_yolo(drawn, tmp_path / "itself")
    (tmp_path / "cells").rename(tmp_path / "itself" / "copy")
    assert not load(str(tmp_path / "itself"), "val").faults  # a data set itself, whatever is below


def test_folders_of_xml_files_are_several_sets_unless_they_are_read_as_one(
    drawn: list[DataSet], tmp_path: Path
) -> None:
    source = write_voc(drawn, tmp_path / "set")
    files = sorted(source.glob("Annotations/*.xml"))
    for n, file in enumerate(files):
        folder = tmp_path / "moved" / "ab"[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        for old in (file, source / f"JPEGImages/{file.stem}.png"):
            old.rename(folder / old.name)
    moved = tmp_path / "moved"
    with pytest.raises(EffscopeError, match=re.escape(f"a, b: name one of them; voc:{moved} reads all XML files")):
        load(str(moved), "train")
    assert sum(len(load(f"voc:{moved}", split).samples) for split in ("train", "val")) == len(files)


def test_voc_splits_with_equal_names_stay_apart(drawn: list[DataSet], tmp_path: Path) -> None:
    source = write_voc(drawn, tmp_path / "set")
    train, val = ((source / f"ImageSets/Main/{split}.txt").read_text().split()[0] for split in ("train", "val"))
    for split, stem in (("train", train), ("val", val)):
        for kind, suffix in (("JPEGImages", "png"), ("Annotations", "xml")):
            new = tmp_path / "two" / kind / split / f"0001.{suffix}"
            new.parent.mkdir(parents=True)
            (source / kind / f"{stem}.{suffix}").rename(new)
    (tmp_path / "two/classes.txt").write_text((source / "classes.txt").read_text())
    for dataset in drawn:
        found = load(str(tmp_path / "two"), dataset.split).samples[0]
        np.testing.assert_array_equal(found.boxes, dataset.samples[0].boxes)
    (tmp_path / "two/Annotations/val/0001.xml").unlink()
    with pytest.raises(EffscopeError, match="1 x missing label file"):
        load(str(tmp_path / "two"), "val")


COCO_PLACES = {
    "DESIGN": ("train.json", "images/train"),
    "cocodataset.org": ("annotations/instances_train2017.json", "train2017"),
    "one folder": ("annotations/train.json", "images"),
    "root": ("annotations/instances_train.json", "."),
    "roboflow": ("train/_annotations.coco.json", "train"),
}


@pytest.mark.parametrize(("json_file", "images"), COCO_PLACES.values(), ids=COCO_PLACES)
def test_coco_files_are_found(json_file: str, images: str, drawn: list[DataSet], tmp_path: Path) -> None:
    source = write_coco(drawn, tmp_path / "set")
    target = tmp_path / "moved" / json_file
    target.parent.mkdir(parents=True)
    (tmp_path / "moved" / images).mkdir(parents=True, exist_ok=True)
    for image in (source / "images/train").iterdir():
        image.rename(tmp_path / "moved" / images / image.name)
    (source / "train.json").rename(target)
    assert load(str(tmp_path / "moved"), "train").digest == load(str(tmp_path / "moved"), "train").digest
    assert not load(str(tmp_path / "moved"), "train").faults


YOLO_YAMLS = {
    "relative to the yaml": "{train: images/train, names: [a]}",
    "path below": "{path: images, train: train, names: [a]}",
    "absolute path": "{path: ROOT, train: images/train, names: [a]}",
    "absolute split": "{train: ROOT/images/train, names: {0: a}}",
    "list of folders": "{train: [images/train, images/val], names: [a]}",
    "text file": "{train: list.txt, names: [a]}",
    "roboflow": "{train: ../images/train, names: [a], nc: 1}",
    "backslashes": "{train: images\\train, names: [a]}",
    "text file with backslashes": "{train: windows.txt, names: [a]}",
}


@pytest.mark.parametrize("text", YOLO_YAMLS.values(), ids=YOLO_YAMLS)
def test_yolo_files_are_found(text: str, drawn: list[DataSet], tmp_path: Path) -> None:
    one_class = [
        replace(d, classes=("a",), samples=tuple(replace(s, labels=s.labels * 0) for s in d.samples)) for d in drawn
    ]
    source = write_yolo(one_class, tmp_path / "images" / "set")
    whole = load(str(source), "train")
    source.write_text(text.replace("ROOT", str(source.parent)))
    (source.parent / "list.txt").write_text("".join(f"./images/train/{s.name}\n" for s in whole.samples))
    (source.parent / "windows.txt").write_text("".join(f"images\\train\\{s.name}\n" for s in whole.samples))
    dataset = load(str(source.parent), "train")
    assert not dataset.faults
    assert dataset.samples[0].name == whole.samples[0].name
    assert len(dataset.samples) == N_IMAGES * (2 if "val" in text else 1)


@pytest.mark.skipif("\\" in str(Path("a/b")), reason="a backslash separates folders here")
def test_a_backslash_in_a_name_is_kept_where_the_file_has_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a\\b.png", "c.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "list.txt").write_text("images/a\\b.png\nimages\\c.png\n")
    (tmp_path / "data.yaml").write_text("{train: list.txt, names: [a]}")
    assert [sample.name for sample in load(str(tmp_path), "train").samples] == ["a\\b.png", "c.png"]


WRITTEN = {
    "[yes, no]": ("yes", "no"),
    "{0: On, 1: 'off', 2: \"~\"}": ("On", "off", "~"),
    "[007, 1e3, 1_000, 2026-01-02, 0x1F, null, 12:30:00]": (
        "007",
        "1e3",
        "1_000",
        "2026-01-02",
        "0x1F",
        "null",
        "12:30:00",
    ),
    "\n- yes  # a class\n- &a no\n- 'it''s'\n": ("yes", "no", "it's"),
    "\n  1: no\n  0: y\n": ("y", "no"),
}


@pytest.mark.parametrize(("names", "classes"), WRITTEN.items())
def test_class_names_are_the_texts_that_the_user_wrote(names: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "data.yaml").write_text(f"train: images\nnames: {names}\n")
    assert load(str(tmp_path), "train").classes == classes
