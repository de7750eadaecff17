"""COCO AP of random data sets as odd as their rules allow: pycocotools on the same files and the same detections."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
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
ODDITIES = {
    "crowds": 0.5, "areas of the file": 0.5, "beyond the image": 0.4, "without area": 0.3, "twice": 0.2, "ties": 0.5,
    "text ids": 0.3, "many detections": 0.05, "whole px": 0.3,
}  # fmt: skip
"""Oddity of a set -> its probability. Ids have gaps and no order; some images have no truth or no detection anyway."""
Row = dict[str, Any]


@dataclass
class Made:
    """A set while it is written: its folder, its oddities, the annotations, image name -> (xywh, labels, scores)."""

    folder: Path
    random: np.random.Generator
    odd: set[str]
    annotations: list[Row] = field(default_factory=list)
    found: dict[str, tuple[Any, Any, Any]] = field(default_factory=dict)

    def chance(self, p: float) -> bool:
        return bool(self.random.random() < p)

    def ids(self, n: int) -> list[Any]:
        """Different ids: numbers with gaps, or texts; in no order."""
        numbers = (self.random.permutation(10 * n)[:n] + 1).tolist()
        return [f"id-{number:04d}" for number in numbers] if "text ids" in self.odd else numbers

    def boxes(self, n: int, side: tuple[int, int], fits: bool = False) -> np.ndarray:
        """xywh, (n, 4), in whole px or in quarters of them; beyond the image and without area if the set has such."""
        step = 1 if "whole px" in self.odd else 4
        low = self.random.uniform(0, 1, (n, 2)) * (np.array(side) - 8)
        sizes = np.maximum(self.random.uniform(0.05, 1, (n, 2)) ** 2 * (side - low), 2)
        if "beyond the image" in self.odd and not fits:
            low = low + self.random.normal(0, 30, (n, 2)) * (self.random.random((n, 1)) < 0.4)
        if "without area" in self.odd and not fits:
            sizes = sizes * (self.random.random((n, 2)) > 0.1)
        return np.floor(np.hstack((low, sizes)) * step) / step

    def truth(self, image: Any, categories: list[Any], side: tuple[int, int]) -> list[Row]:
        """The annotations of an image."""
        n = 0 if self.chance(0.15) else int(self.random.integers(1, 9))
        rows = []
        for box in self.boxes(n, side).tolist():
            crowd = int("crowds" in self.odd and self.chance(0.25))
            share = self.random.uniform(0.02, 1.2) if "areas of the file" in self.odd and self.chance(0.6) else 1
            row = {"image_id": image, "category_id": categories[int(self.random.integers(len(categories)))]}
            row |= {"bbox": box, "iscrowd": crowd, "area": float(box[2] * box[3] * share)}
            rows += [row] * (2 if "twice" in self.odd and self.chance(0.3) else 1)
        return rows

    def detections(self, rows: list[Row], labels: dict[Any, int], side: tuple[int, int]) -> tuple[Any, Any, Any]:
        """Boxes near the truth and elsewhere, some of a wrong class."""
        times = 40 if "many detections" in self.odd else 2
        often = [row for row in rows for _ in range(times)]
        near = [
            np.add(row["bbox"], 0 if self.chance(0.2) else np.floor(self.random.normal(0, 6, 4)) / 4) for row in often
        ]
        every = np.array([*near, *self.boxes(4 * (times // 2), side, fits=True)], dtype=np.float64).reshape(-1, 4)
        every[:, 2:] = np.maximum(every[:, 2:], 1)
        named = self.random.integers(0, len(labels), len(every))
        right = np.array([labels[row["category_id"]] for row in often], np.int64)
        named[: len(right)] = np.where(self.random.random(len(right)) < 0.85, right, named[: len(right)])
        scores = self.random.integers(1, 9 if "ties" in self.odd else 2**20, len(every)) / 2**20
        kept = np.flatnonzero(self.random.random(len(every)) < (0 if self.found and self.chance(0.1) else 0.8))
        return every[kept], named[kept], scores[kept].astype(np.float32)


def made(folder: Path, seed: int) -> Made:
    """A data set of one split, and detections in its images."""
    random = np.random.default_rng(seed)
    one = Made(folder, random, {oddity for oddity, p in ODDITIES.items() if random.random() < p})
    side = (int(random.integers(40, 300)), int(random.integers(40, 300)))
    images, categories = one.ids(int(random.integers(1, 7))), one.ids(int(random.integers(1, 5)))
    labels = {key: label for label, key in enumerate(sorted(categories))}
    used = categories[: max(1, len(categories) - int(one.chance(0.3)))]  # else a class without truth
    (folder / "images" / "val").mkdir(parents=True)
    for number, image in enumerate(images):
        Image.new("L", side).save(folder / "images" / "val" / f"{image}.png")
        rows = one.truth(image, used, side)
        if not number:
            box = one.boxes(1, side, fits=True)[0].tolist()
            rows.append({"image_id": image, "category_id": used[0], "bbox": box, "iscrowd": 0, "area": box[2] * box[3]})
        one.annotations += rows
        one.found[f"{image}.png"] = one.detections(rows, labels, side)
    listed = [{"id": image, "file_name": f"{image}.png", "width": side[0], "height": side[1]} for image in images]
    named = [{"id": category, "name": f"class {category}"} for category in categories]
    numbered = [row | {"id": n} for n, row in enumerate(one.annotations, 1)]
    (folder / "val.json").write_text(json.dumps({"images": listed, "annotations": numbered, "categories": named}))
    return one


def detections(every: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Detections:
    xyxy = np.hstack((every[:, :2], every[:, :2] + every[:, 2:])).astype(np.float32)
    return Detections(xyxy, scores, labels.astype(np.int64))


def test_ap_is_that_of_pycocotools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All six numbers, from the scorer, and from the detections that were written beside the result."""
    monkeypatch.setattr("effscope.detect.examples.N_DRAWN", 0)
    ours, truths = [], 0
    for seed in range(SETS):
        one = made(tmp_path / f"{seed:03d}", seed)
        data = load(str(one.folder), "val")
        assert len(data.samples) == len(one.found)
        assert sum(len(sample.truth) for sample in data.samples) == len(one.annotations)
        found = [detections(*one.found[sample.name]) for sample in data.samples]
        write_examples(one.folder / "eval", data, found, [None] * len(found), data.classes)
        scored = score(data.samples, found, data.classes)
        assert match(data.samples, found, len(data.classes)).ap() == pytest.approx(scored.ap, abs=1e-9), one.odd
        assert scored.boxes == sum(not row["iscrowd"] for row in one.annotations)
        ours.append((one.odd, [scored.ap, scored.ap50, scored.ap75, scored.ap_s, scored.ap_m, scored.ap_l]))
        truths += scored.boxes
    theirs = json.loads(ask(THEIRS, tmp_path, needs="pycocotools").strip().splitlines()[-1])
    assert len(ours) == len(theirs)
    assert truths > 5 * SETS
    for (odd, mine), other in zip(ours, theirs, strict=True):
        assert [-1 if value is None else value for value in mine] == pytest.approx(other, abs=1e-9), odd
    assert np.std([mine[0] for _, mine in ours]) > 0.1
