"""What is left out is said, and what decides the scores is part of the data."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from effscope.data.check import fault_lines
from effscope.data.load import load
from effscope.data.record import Fault

SIDE = (64, 48)


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
