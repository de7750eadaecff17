"""Precision, recall, F1 and the confusion matrix on the same detections, as Ultralytics computes them from arrays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.peers_env import ask

from effscope.data.sample import Sample
from effscope.detect.by_class import CUTS, by_cut, class_fields
from effscope.detect.confusion import confusion
from effscope.detect.evaluate import score
from effscope.detect.predict import NOTHING, Detections
from effscope.detect.resampling import match

SETS = 30
IOU, CONF = 0.5, 0.3
THEIRS = """
import json, sys
import numpy as np, torch
from ultralytics.utils.metrics import ConfusionMatrix, ap_per_class
answers = []
for case in json.load(open(sys.argv[1])):
    arrays = [np.array(case[name]) for name in ("hit", "score", "label", "target")]
    _, _, p, r, f1, _, labels, p_curve, r_curve, f1_curve, x, _ = ap_per_class(arrays[0].reshape(-1, 10), *arrays[1:])
    matrix = ConfusionMatrix(names={k: str(k) for k in range(case["nc"])})
    for image in case["images"]:
        boxes = lambda rows: torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
        found = {"bboxes": boxes(image["boxes"]), "conf": torch.tensor(image["scores"]),
                 "cls": torch.tensor(image["labels"])}
        truth = {"bboxes": boxes(image["true_boxes"]), "cls": torch.tensor(image["true_labels"])}
        matrix.process_batch(found, truth, conf=case["conf"], iou_thres=case["iou"])
    answers.append({
        "p": p.tolist(), "r": r.tolist(), "f1": f1.tolist(), "labels": labels.tolist(),
        "p_sum": p_curve.sum(1).tolist(), "r_sum": r_curve.sum(1).tolist(), "f1_mean": f1_curve.mean(0)[::50].tolist(),
        "x": x[[0, 1, -1]].tolist(), "matrix": matrix.matrix.tolist(),
    })
print(json.dumps(answers))
"""
Split = tuple[list[Sample], list[Detections], int]


def split(seed: int) -> Split:
    """Images of a grid whose cells hold at most one box and one detection, so that no two want the same partner.

    Some boxes are missed, some detections are off, of another class, or where no box is; scores are all different.
    """
    random = np.random.default_rng(seed)
    nc = int(random.integers(1, 12))
    samples, guesses = [], []
    scores = (random.permutation(4000) + 0.5).astype(np.float32) / 4000
    for n in range(20):
        if n % 6 == 5:
            samples.append(Sample(Path("n.jpg"), (640, 640), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
            guesses.append(NOTHING)
            continue
        corner = np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2) * 120.0 + 10
        boxes = np.hstack((corner, corner + random.uniform(30, 100, (25, 2)))).astype(np.float32)
        labels = random.integers(0, nc, 25)
        there, seen = random.random(25) < 0.6, random.random(25) < 0.7
        shifted = boxes + random.normal(0, random.choice([2, 8]), boxes.shape).astype(np.float32)
        named = np.where(random.random(25) < 0.8, labels, random.integers(0, nc, 25))
        own = scores[25 * n : 25 * n + 25]
        order = np.flatnonzero(seen)[np.argsort(-own[seen])]
        samples.append(Sample(Path("n.jpg"), (640, 640), boxes[there], labels[there]))
        guesses.append(Detections(shifted[order], own[order], named[order]))
    return samples, guesses, nc


def question(made: Split) -> dict[str, Any]:
    samples, guesses, nc = made
    matches = match(samples, guesses, nc)
    images = [
        {
            "boxes": d.boxes.tolist(), "scores": d.scores.tolist(), "labels": d.labels.tolist(),
            "true_boxes": s.boxes.tolist(), "true_labels": s.labels.tolist(),
        }
        for s, d in zip(samples, guesses, strict=True)
    ]  # fmt: skip
    arrays = {"hit": matches.hit.tolist(), "score": matches.score.tolist(), "label": matches.label.tolist()}
    target = np.concatenate([s.labels for s in samples]).tolist()
    return {**arrays, "target": target, "nc": nc, "images": images, "conf": CONF, "iou": IOU}


def test_the_same_precision_recall_f1_and_confusions(tmp_path: Path) -> None:
    made = [split(seed) for seed in range(SETS)]
    file = tmp_path / "question.json"
    file.write_text(json.dumps([question(one) for one in made]))
    answers = json.loads(ask(THEIRS, file).strip().splitlines()[-1])
    for (samples, guesses, nc), theirs in zip(made, answers, strict=True):
        names = tuple(map(str, range(nc)))
        matches = match(samples, guesses, nc)
        cuts, fields = by_cut(matches), class_fields(score(samples, guesses, names), matches, names)
        assert cuts.labels.tolist() == theirs["labels"]
        assert CUTS[[0, 1, -1]].tolist() == theirs["x"]
        assert cuts.precision.sum(1) == pytest.approx(theirs["p_sum"], abs=1e-9)
        assert cuts.recall.sum(1) == pytest.approx(theirs["r_sum"], abs=1e-9)
        assert cuts.f1.mean(0)[::50] == pytest.approx(theirs["f1_mean"], abs=1e-12)
        for name, key in (("precision", "p"), ("recall", "r"), ("f1", "f1")):
            ours = [getattr(one, name) for one in fields["classes"]]
            assert ours == pytest.approx(theirs[key], abs=1e-12)
            assert fields[name] == pytest.approx(np.mean(theirs[key]), abs=1e-12)
        matrix, _ = confusion(samples, guesses, names, CONF, names)
        assert np.array(matrix.counts).T.tolist() == theirs["matrix"]  # theirs: a row per detected class


def test_the_sets_have_confusions_misses_and_false_detections() -> None:
    sums = np.zeros(3)
    for seed in range(SETS):
        samples, guesses, nc = split(seed)
        names = tuple(map(str, range(nc)))
        matrix, _ = confusion(samples, guesses, names, CONF, names)
        sums += (sum(n for *_, n in matrix.pairs()), matrix.missed, matrix.false)
    assert (sums > 100).all()
