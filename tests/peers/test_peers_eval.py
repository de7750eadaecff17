"""`eval --as ultralytics` against what Ultralytics' `val` prints, on a detector that has learned something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.peers_env import ask
from support.small_detector import CLASSES, coloured_squares
from support.tiny_search import LAYOUT, LEARNS

from effscope.api import eval as evaluate
from effscope.api import export
from effscope.checkpoint.write import write_safetensors
from effscope.config import TrainConfig
from effscope.data.sample import DataSet
from effscope.data.write import write_yolo
from effscope.layouts.expand import expand
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml
from effscope.models.file_metadata import metadata
from effscope.nn.build import build
from effscope.recipes import read_recipe
from effscope.training.train import train

IMGSZ = 64
THEIRS = """
import json, sys
from ultralytics import YOLO
metrics = YOLO(sys.argv[1]).val(
    data=sys.argv[2], imgsz=int(sys.argv[3]), batch=8, conf=0.001, iou=0.7, max_det=300, device="cpu", plots=False,
    verbose=False, project=sys.argv[4])
box = metrics.box
print(json.dumps([float(x) for x in (box.map, box.map50, box.mp, box.mr, box.f1.mean())]))
"""


def at_the_edge(data: DataSet) -> DataSet:
    """The images, cut so that many objects end at their edge, where the conventions differ."""
    samples = []
    for sample in data.samples:
        boxes = sample.boxes.copy()
        boxes[:, [0, 2]] = (boxes[:, [0, 2]] - 8).clip(0, 80)
        boxes[:, [1, 3]] = (boxes[:, [1, 3]] - 8).clip(0, 48)
        seen = (boxes[:, 2] - boxes[:, 0] > 2) & (boxes[:, 3] - boxes[:, 1] > 2)
        pixels = sample.image[8:56, 8:88]  # type: ignore[index]
        samples.append(replace(sample, image=pixels, size=(80, 48), boxes=boxes[seen], labels=sample.labels[seen]))
    return replace(data, samples=tuple(samples))


def test_the_ap_that_val_prints(tmp_path: Path) -> None:
    model = from_yaml(LAYOUT)
    config = TrainConfig(data="made", imgsz=IMGSZ, epochs=40, batch=8, device="cpu", recipe=read_recipe(LEARNS))
    found = train(build(expand(model), 0), coloured_squares(48), config)
    weights = tmp_path / "made.safetensors"
    write_safetensors(weights, found.state, metadata(model, CLASSES, IMGSZ))
    splits = [at_the_edge(coloured_squares(n, split, seed=7)) for n, split in ((2, "train"), (128, "val"))]
    yaml = write_yolo(splits, tmp_path / "data")
    yaml.write_text(f"path: {yaml.parent}\n{yaml.read_text()}")
    pt = export(str(weights), "pt", out=tmp_path / "export").files["pt"]
    answer = ask(THEIRS, pt, yaml, IMGSZ, tmp_path / "val").strip().splitlines()[-1]
    theirs, theirs50, precision, recall, f1 = json.loads(answer)
    like, coco = (evaluate(str(weights), str(yaml), convention=word) for word in ("ultralytics", "coco"))
    assert theirs > 0.2
    assert like.ap == pytest.approx(theirs, abs=0.012)  # up to .011 in several trainings, with both signs
    assert like.ap50 == pytest.approx(theirs50, abs=0.015)
    assert like.f1 == pytest.approx(f1, abs=0.01)
    assert (like.precision, like.recall) == pytest.approx((precision, recall), abs=0.04)  # F1 is flat around the cut
    assert abs(coco.ap - theirs) > abs(like.ap - theirs)
