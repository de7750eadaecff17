"""Every box of a data set comes back, whatever legal oddities its files have: random sets in each layout."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import Image

from effscope.data.check import fault_lines
from effscope.data.load import load
from effscope.data.record import Fault
from effscope.data.sample import DataSet

SETS = 170
SIDE = (64, 48)
KINDS = {
    ".png": "PNG", ".jpg": "JPEG", ".JPG": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".jpe": "JPEG", ".bmp": "BMP",
    ".tif": "TIFF", ".webp": "WEBP", ".ppm": "PPM",
}  # fmt: skip
NAMES = ("cat", "dog with spaces", "Zähler", "细胞")
FOLDERS = ("", "night", "a b", "deep/er", "day.1")
Box = tuple[str, str, tuple[float, ...]]


@dataclass
class Made:
    """A set while it is written.

    Attributes:
        root: its folder.
        random: source of the oddities.
        store: a folder outside; linked folders and files lead into it.
        boxes: (image, class, xyxy px) of every box that must come back.
        crowds: boxes around crowds.
    """

    root: Path
    random: np.random.Generator
    store: Path
    boxes: Counter[Box] = field(default_factory=Counter)
    crowds: int = 0

    def chance(self, p: float = 0.3) -> bool:
        return bool(self.random.random() < p)

    def pick(self, values: Any) -> Any:
        return values[int(self.random.integers(len(values)))]

    def image(self, folder: Path, name: str) -> Path:
        """An image, or a link to one."""
        suffix = self.pick(list(KINDS))
        path = folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        real = self.store / path.name if self.chance(0.2) else path
        Image.new("RGB", SIDE, (90, 120, 30)).save(real, KINDS[suffix])
        if real != path:
            path.symlink_to(real)
        return path

    def rows(self) -> list[tuple[int, tuple[float, ...]]]:
        """(class, xyxy) in whole px; different boxes."""
        found = {}
        for _ in range(int(self.random.integers(0, 5))):
            x, y = (int(self.random.integers(0, side - 12)) for side in SIDE)
            w, h = (int(self.random.integers(4, 12)) for _ in range(2))
            found[x, y, x + w, y + h] = int(self.random.integers(len(NAMES)))
        return [(label, box) for box, label in found.items()]

    def note(self, image: str, label: str, box: tuple[float, ...]) -> None:
        self.boxes[image, label, tuple(float(value) for value in box)] += 1


def found(data: DataSet) -> Counter[Box]:
    return Counter(
        (sample.name, data.classes[label], tuple(np.round(box, 2).tolist()))
        for sample in data.samples
        for label, box in zip(sample.labels, sample.boxes.astype(float), strict=True)
    )


def linked(made: Made, folder: Path, target: str) -> Path:
    """The folder, or a link with its name to a folder elsewhere."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if made.chance():
        real = made.store / target
        real.mkdir(parents=True)
        folder.symlink_to(real)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def yolo(made: Made) -> str:
    """YOLO: linked and nested folders, lists, encodings, polygons, classes without names."""
    images = linked(made, made.root / "images" / "train", "pictures")
    numbered = made.chance(0.2)
    listed = []
    for n in range(int(made.random.integers(1, 5))):
        image = made.image(images / made.pick(FOLDERS), f"im age{n}")
        listed.append(image)
        lines = []
        for label, (x1, y1, x2, y2) in made.rows():
            if made.chance(0.2):
                points = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) / SIDE
                numbers = points.ravel().tolist()
            else:
                numbers = [(x1 + x2) / 2 / SIDE[0], (y1 + y2) / 2 / SIDE[1], (x2 - x1) / SIDE[0], (y2 - y1) / SIDE[1]]
            lines.append(" ".join([str(label), *(f"{value:.8f}" for value in numbers)]) + made.pick(("", "  ", "\t")))
            made.note(image.name, f"class_{label}" if numbered else NAMES[label], (x1, y1, x2, y2))
        text = Path(*["labels" if part == "images" else part for part in image.parts]).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(made.pick(("\n", "\r\n", "\n\n")).join(lines), encoding=made.pick(("utf-8", "utf-8-sig")))
    entry = "images/train"
    if made.chance():
        entry = "list of images.txt"
        relative = [f"./{path.relative_to(made.root)}" for path in listed]
        (made.root / entry).write_text("# a comment\n" + "\n".join(relative) + "\n\n")
    names = f"nc: {len(NAMES)}" if numbered else f"names: {json.dumps(NAMES, ensure_ascii=False)}"
    content = f"train: {entry}\n{names}\n"
    where, encoding = made.root / "data.yaml", made.pick(("utf-8", "utf-8-sig", "utf-16"))
    if made.chance():
        where = made.root / "configs" / "mine.yaml"
        where.parent.mkdir()
        content = f"path: {made.pick(('..', made.root.name))}\n{content}"  # of the YAML's folder, or the working one
    data = content.encode(encoding)
    if numbered and made.chance():
        data = "# 数据集\n".encode("gbk") + content.encode()
    where.write_bytes(data)
    return str(where)


def coco(made: Made) -> str:
    """COCO: ids of any kind, gaps, an image listed twice, crowds, files in folders, other JSON names."""
    texts = made.chance()
    images = linked(made, made.root / "images" / "train", "pictures")
    categories = [f"k{3 * n}" if texts else 7 * n + 2 for n in range(len(NAMES))]
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for n in range(int(made.random.integers(1, 5))):
        image = made.image(images / made.pick(FOLDERS), f"im age{n}")
        key = f"image {n}" if texts else 1000 - 3 * n
        entry = {"id": key, "file_name": str(image.relative_to(images)), "width": SIDE[0], "height": SIDE[1]}
        entries += [entry] * (2 if made.chance(0.2) else 1)
        for label, (x1, y1, x2, y2) in made.rows():
            crowd = made.chance(0.1)
            row = {"id": len(annotations), "image_id": key, "category_id": categories[label], "iscrowd": int(crowd)}
            annotations.append(row | {"bbox": [x1, y1, x2 - x1, y2 - y1]})
            if crowd:
                made.crowds += 1
            else:
                made.note(image.name, NAMES[label], (x1, y1, x2, y2))
    named = [{"id": key, "name": name} for key, name in zip(categories, NAMES, strict=True)]
    made.random.shuffle(named)  # type: ignore[arg-type]
    file = made.root / made.pick(("train.json", "annotations/instances_train.json", "annotations/train.json"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": named}))
    return str(made.root)


def voc(made: Made) -> str:
    """VOC: linked and nested folders, suffixes in capitals, ImageSets with a second column, a class list."""
    annotations = linked(made, made.root / "Annotations", "xml")
    images = linked(made, made.root / "JPEGImages", "pictures")
    keys = []
    for n in range(int(made.random.integers(1, 5))):
        folder = made.pick(("", "night", "a b"))
        image = made.image(images / folder, f"image{n}")
        objects = ""
        for label, (x1, y1, x2, y2) in made.rows():
            made.note(image.name, NAMES[label], (x1, y1, x2, y2))
            corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            objects += f"<object><name>{escape(NAMES[label])}</name><bndbox>{corners}</bndbox></object>"
        file = annotations / folder / f"image{n}{made.pick(('.xml', '.XML'))}"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = f"<size><width>{SIDE[0]}</width><height>{SIDE[1]}</height></size>"
        file.write_text(f"<annotation>{size}{objects}</annotation>", encoding="utf-8")
        keys.append(f"{folder}/image{n}".lstrip("/"))
    (made.root / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    sets = made.root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("\n".join(Path(key).name + made.pick(("", "  1")) for key in keys))
    return str(made.root)


@pytest.mark.parametrize("layout", [yolo, coco, voc])
def test_every_box_comes_back(layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compared = 0
    for seed in range(SETS):
        store = tmp_path / f"store{seed}"
        store.mkdir()
        made = Made(tmp_path / f"set{seed}", np.random.default_rng(seed), store)
        made.root.mkdir()
        source = layout(made)
        if not made.boxes:
            continue
        data = load(source, "train")
        assert found(data) == made.boxes, (seed, fault_lines(data))
        assert sum(len(s.ignored.boxes) for s in data.samples if s.ignored) == made.crowds
        lost = [Fault.MISSING_IMAGE, Fault.UNREADABLE_IMAGE, Fault.UNREADABLE_ROW, Fault.UNKNOWN_CLASS]
        assert not any(data.faults[fault.value] for fault in lost), (seed, fault_lines(data))
        compared += 1
    assert compared > 0.9 * SETS


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """Hidden folders, formats without a decoder, files that are not images, and a link in a circle."""
    for name in ("a.png", ".cache/b.png", "sub/c.png"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIDE).save(file)
        label = tmp_path / "labels" / Path(name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.4 0.4\n")
    for name in ("photo.heic", "raw.DNG", "notes.txt", "._a.png", "Thumbs.db"):
        (tmp_path / "images" / name).write_bytes(b"something else")
    (tmp_path / "images" / "sub" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]\n")
    data = load(str(tmp_path), "train")
    assert sorted(sample.name for sample in data.samples) == ["a.png", "c.png"]
    assert data.faults == {Fault.HIDDEN.value: 1, Fault.UNKNOWN_SUFFIX.value: 2}
    lines = fault_lines(data)
    assert any("b.png" in line and "left out" in line for line in lines)
    assert any(".heic" in line or ".DNG" in line for line in lines)


def test_areas_and_crowds_are_part_of_the_data(tmp_path: Path) -> None:
    """Another area or crowd scores differently, so the digest differs."""
    (tmp_path / "images" / "val").mkdir(parents=True)
    Image.new("RGB", SIDE).save(tmp_path / "images" / "val" / "a.png")
    digests = []
    for area, crowd in ((100.0, 0), (40.0, 0), (100.0, 1)):
        rows = [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 2, 10, 10], "area": area, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [20, 20, 10, 10], "area": 100.0, "iscrowd": crowd},
        ]
        content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": rows, "categories": [{"id": 1}]}
        (tmp_path / "val.json").write_text(json.dumps(content))
        digests.append(load(str(tmp_path), "val").digest)
    assert len(set(digests)) == 3
