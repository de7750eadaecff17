"""COCO AP of random data sets with crowds, areas and ids of any kind: pycocotools on the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.peers_env import ask

from effscope.data.load import load
from effscope.detect.evaluate import score
from effscope.detect.examples import write_examples
from effscope.detect.predict import Detections
from effscope.detect.resampling import match

SETS = 200
THEIRS = """
import contextlib, io, json, sys
from pathlib import Path
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
found = []
for folder in sorted(Path(sys.argv[1]).iterdir()):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "val.json"))
        run = COCOeval(truth, truth.loadRes(str(folder / "eval" / "detections.json")), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    found.append([float(value) for value in run.stats[:6]])
print(json.dumps(found))
"""


def ids(random: np.random.Generator, n: int) -> list[Any]:
    """Different ids: numbers with gaps, or texts."""
    numbers = (random.permutation(10 * n)[:n] + 1).tolist()
    return [f"id-{number:04d}" for number in numbers] if random.random() < 0.3 else numbers


def boxes(random: np.random.Generator, n: int, side: tuple[int, int]) -> np.ndarray:
    """xywh in quarters of a px, inside the image."""
    width, height = side
    low = np.floor(random.uniform(0, 1, (n, 2)) * (width - 8, height - 8))
    sizes = np.maximum(np.floor(4 * random.uniform(0.05, 1, (n, 2)) ** 2 * ((width, height) - low)) / 4, 2)
    return np.hstack((low, sizes))


def made(folder: Path, seed: int) -> dict[str, list[Any]]:
    """A data set of one split, and image id -> guessed boxes (xywh, score, label)."""
    random = np.random.default_rng(seed)
    side = (int(random.integers(40, 300)), int(random.integers(40, 300)))
    images, categories = ids(random, int(random.integers(1, 5))), ids(random, int(random.integers(1, 4)))
    (folder / "images" / "val").mkdir(parents=True)
    annotations: list[dict[str, Any]] = []
    guesses: dict[str, list[Any]] = {}
    in_order = sorted(categories)
    for image in images:
        Image.new("L", side).save(folder / "images" / "val" / f"{image}.png")
        n = int(random.integers(0, 6))
        for box in boxes(random, n, side).tolist():
            crowd = int(random.random() < 0.25)
            category = categories[int(random.integers(len(categories)))]
            area = float(box[2] * box[3] * (1 if random.random() < 0.5 else random.uniform(0.02, 1)))
            row = {
                "id": len(annotations) + 1,
                "image_id": image,
                "category_id": category,
                "bbox": box,
                "iscrowd": crowd,
            }
            annotations.append(row | {"area": area})
        own = [row for row in annotations if row["image_id"] == image]
        near = [np.add(row["bbox"], np.floor(random.normal(0, 6, 4)) / 4) for row in own for _ in range(2)]
        every = np.array([*near, *boxes(random, 4, side)])
        every[:, 2:] = np.maximum(every[:, 2:], 1)
        labels = [in_order.index(row["category_id"]) for row in own for _ in range(2)]
        labels += random.integers(0, len(categories), 4).tolist()
        guesses[f"{image}.png"] = [every, labels]
    listed = [{"id": image, "file_name": f"{image}.png", "width": side[0], "height": side[1]} for image in images]
    named = [{"id": category, "name": f"class {category}"} for category in categories]
    truth = {"images": listed, "annotations": annotations, "categories": named}
    (folder / "val.json").write_text(json.dumps(truth))
    return guesses if any(not row["iscrowd"] for row in annotations) else {}


def detections(guesses: list[Any], first: int) -> Detections:
    every, labels = guesses
    xyxy = np.hstack((every[:, :2], every[:, :2] + every[:, 2:])).astype(np.float32)
    scores = np.random.default_rng(first).permutation(1000)[: len(every)].astype(np.float32) / 1024 + first / 2**20
    return Detections(xyxy, scores.astype(np.float32), np.array(labels, np.int64))


def test_ap_is_that_of_pycocotools(tmp_path: Path) -> None:
    ours, crowds = [], 0
    for seed in range(SETS):
        folder = tmp_path / "sets" / f"{seed:03d}"
        guesses = made(folder, seed)
        if not guesses:
            for file in sorted(folder.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            folder.rmdir()
            continue
        data = load(str(folder), "val")
        assert len(data.samples) == len(guesses)
        found = [detections(guesses[sample.name], n) for n, sample in enumerate(data.samples)]
        crowds += sum(sample.ignored is not None for sample in data.samples)
        write_examples(folder / "eval", data, found, [None] * len(found), data.classes)
        scored = score(data.samples, found, data.classes)
        assert match(data.samples, found, len(data.classes)).ap() == pytest.approx(scored.ap, abs=1e-9)
        ours.append([scored.ap, scored.ap50, scored.ap75, scored.ap_s, scored.ap_m, scored.ap_l])
    theirs = json.loads(ask(THEIRS, tmp_path / "sets", needs="pycocotools").strip().splitlines()[-1])
    assert len(ours) == len(theirs) > 0.8 * SETS and crowds > 50
    for mine, other in zip(ours, theirs, strict=True):
        assert [-1 if value is None else value for value in mine] == pytest.approx(other, abs=1e-9)
