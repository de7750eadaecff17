from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.peers_env import ask
from support.small_detector import CLASSES, coloured_squares, small_network

from effscope.config import EvalConfig
from effscope.data.sample import DataSet, Sample
from effscope.detect.draw import draw
from effscope.detect.evaluate import evaluate, score
from effscope.detect.predict import Detections, detect, select
from effscope.errors import EffscopeError

NAMES = ("cell", "dust", "hair")
CONFIG = EvalConfig(imgsz=64, batch=4, device="cpu")


def sample(*rows: tuple[float, float, float, float, int], size: tuple[int, int] = (640, 480)) -> Sample:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Sample(Path("none.jpg"), size, table[:, :4], table[:, 4].astype(np.int64))


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_perfect_detections_score_one() -> None:
    scored = score([sample((10, 10, 50, 60, 0), (100, 100, 300, 300, 2))], [found((10, 10, 50, 60, 0.9, 0), (100, 100, 300, 300, 0.8, 2))], NAMES)  # fmt: skip  # noqa: E501
    assert scored.ap == scored.ap50 == scored.ap75 == pytest.approx(1)
    assert scored.per_class == {"cell": pytest.approx(1), "hair": pytest.approx(1)}
    assert (scored.ap_s, scored.ap_m, scored.ap_l) == (None, pytest.approx(1), pytest.approx(1))
    assert (scored.images, scored.boxes) == (1, 2)


def test_false_alarm_between_two_hits_by_hand() -> None:
    truth = [sample((0, 0, 40, 40, 0), (100, 100, 140, 140, 0))]
    guesses = [found((0, 0, 40, 40, 0.9, 0), (300, 300, 340, 340, 0.8, 0), (100, 100, 140, 140, 0.7, 0))]
    # precision 1 up to recall .50 (51 of 101 recalls), 2/3 beyond
    assert score(truth, guesses, NAMES).ap == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)


def test_overlap_decides_which_iou_thresholds_are_met() -> None:
    scored = score([sample((0, 0, 100, 100, 0))], [found((0, 0, 100, 77, 0.9, 0))], NAMES)  # IoU .77
    assert scored.ap == pytest.approx(6 / 10)
    assert scored.ap50 == scored.ap75 == pytest.approx(1)


def test_areas_are_of_the_original_image() -> None:
    sides = {"ap_s": 31, "ap_m": 33, "ap_l": 97}
    for name, side in sides.items():
        scored = score([sample((0, 0, side, side, 0))], [found((0, 0, side, side, 0.5, 0))], NAMES)
        assert {key: getattr(scored, key) for key in sides} == {
            key: pytest.approx(1) if key == name else None for key in sides
        }


def test_no_detections_score_zero() -> None:
    scored = score([sample((0, 0, 20, 20, 1)), sample()], [found(), found()], NAMES)
    assert scored.ap == scored.ap50 == 0
    assert scored.ap_s == 0
    assert scored.ap_l is None
    assert scored.per_class == {"dust": 0}


def test_classes_without_true_boxes_do_not_count() -> None:
    guesses = found((0, 0, 20, 20, 0.9, 1), (5, 5, 90, 90, 0.9, 0))
    scored = score([sample((0, 0, 20, 20, 1))], [guesses], NAMES)
    assert scored.ap == pytest.approx(1)
    assert list(scored.per_class) == ["dust"]


def test_no_true_boxes() -> None:
    scored = score([sample()], [found((0, 0, 20, 20, 0.9, 1))], NAMES)
    assert scored.ap == 0
    assert scored.boxes == 0
    assert scored.per_class == {}
    assert json.loads(json.dumps(scored.to_dict()))["ap_s"] is None


def test_scoring_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    score([sample((0, 0, 20, 20, 1))], [found((0, 0, 20, 20, 0.9, 1))], NAMES)
    assert capfd.readouterr() == ("", "")


def noisy_guesses(random: np.random.Generator, truth: list[Sample]) -> list[Detections]:
    guesses = []
    for one in truth:
        shifted = one.boxes + random.normal(0, 4, one.boxes.shape).astype(np.float32)
        stray = random.uniform(0, 200, (5, 4)).astype(np.float32)
        stray[:, 2:] = stray[:, :2] + random.uniform(5, 120, (5, 2))
        boxes = np.vstack((shifted, stray)).astype(np.float32)
        labels = np.concatenate((one.labels, random.integers(0, 3, 5)))
        guesses.append(Detections(boxes, random.uniform(0, 1, len(boxes)).astype(np.float32), labels))
    return guesses


PYCOCOTOOLS = """
import contextlib, io, json, sys
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
case = json.load(open(sys.argv[1]))
with contextlib.redirect_stdout(io.StringIO()):
    truth = COCO()
    truth.dataset = case["truth"]
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(np.array(case["rows"])), "bbox")
    run.evaluate(); run.accumulate(); run.summarize()
print(json.dumps(run.stats[:6].tolist()))
"""


def test_equals_pycocotools(tmp_path: Path) -> None:
    from effscope.detect.evaluate import _result_rows, _truth_table

    random = np.random.default_rng(0)
    truth = []
    for _ in range(20):
        low = random.uniform(0, 300, (6, 2))
        boxes = np.hstack((low, low + random.uniform(8, 160, (6, 2))))
        truth.append(sample(*[(*box, label) for box, label in zip(boxes, random.integers(0, 3, 6), strict=True)]))
    guesses = noisy_guesses(random, truth)
    file = tmp_path / "case.json"
    file.write_text(json.dumps({"truth": _truth_table(truth, 3), "rows": _result_rows(truth, guesses).tolist()}))
    theirs = json.loads(ask(PYCOCOTOOLS, file, needs="pycocotools"))
    ours = score(truth, guesses, NAMES)
    assert (ours.ap, ours.ap50, ours.ap75, ours.ap_s, ours.ap_m, ours.ap_l) == pytest.approx(theirs, abs=1e-9)


def test_evaluate_reports_progress_and_restores_the_mode(tmp_path: Path) -> None:
    network, seen = small_network().train(), list[float]()
    data = coloured_squares(6)
    data = replace(data, samples=(replace(data.samples[0], image=tmp_path / "gone.jpg"), *data.samples[1:]))
    scored = evaluate(network, data, CONFIG, lambda fraction, _: seen.append(fraction))
    assert network.training
    assert scored.images == 5
    assert len(scored.detections) == 5
    assert scored.dataset is not None
    assert scored.dataset.samples == data.samples[1:]
    assert "gone.jpg" in next(iter(scored.dataset.examples.values()))[0]
    assert seen == sorted(seen)
    assert 0 <= scored.ap <= 1


def test_evaluate_refuses_too_few_classes_and_no_images(tmp_path: Path) -> None:
    data = coloured_squares(1)
    with pytest.raises(EffscopeError, match="has 2 classes"):
        evaluate(small_network(), replace(data, classes=NAMES), CONFIG)
    gone = replace(data.samples[0], image=tmp_path / "gone.jpg")
    with pytest.raises(EffscopeError, match="can be read"):
        evaluate(small_network(), DataSet("made", "val", CLASSES, (gone,)), CONFIG)


def test_detections_do_not_depend_on_the_batch() -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((64, 64), (40, 64), (64, 64), (70, 30))]
    network = small_network().eval()
    single = dict(detect(network, images, replace(CONFIG, batch=1, conf=0.0, max_det=50)))
    joint = dict(detect(network, images, replace(CONFIG, batch=3, conf=0.0, max_det=50)))
    assert sorted(single) == sorted(joint) == [0, 1, 2, 3]
    for position, image in enumerate(images):
        assert np.allclose(single[position].scores, joint[position].scores, atol=1e-5)
        boxes = joint[position].boxes
        assert bool((boxes >= 0).all() and (boxes <= (image.shape[1], image.shape[0]) * 2).all())


def decoded(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows).T[None]


def test_suppression_is_per_class_and_labels_may_be_several() -> None:
    raw = decoded((50, 50, 20, 20, 0.9, 0.3), (51, 50, 20, 20, 0.8, 0.0005), (90, 90, 10, 10, 0.2, 0.7))
    many = select(raw, "xywh", CONFIG)[0]
    assert [(round(row[4], 2), int(row[5])) for row in many.tolist()] == [(0.9, 0), (0.7, 1), (0.3, 1), (0.2, 0)]
    assert many[0, :4].tolist() == [40, 40, 60, 60]
    best = select(raw, "xywh", CONFIG, multi_label=False)[0]
    assert [(round(row[4], 2), int(row[5])) for row in best.tolist()] == [(0.9, 0), (0.7, 1)]


def test_one_to_one_boxes_are_not_suppressed() -> None:
    raw = decoded((40, 40, 60, 60, 0.9, 0.3), (41, 40, 61, 60, 0.8, 0.0005))
    rows = select(raw, "xyxy", replace(CONFIG, max_det=3))[0]
    assert [(round(row[4], 2), int(row[5])) for row in rows.tolist()] == [(0.9, 0), (0.8, 0), (0.3, 1)]
    assert rows[1, :4].tolist() == [41, 40, 61, 60]


def test_drawing_shows_boxes_and_names_even_on_a_small_image() -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    guesses = found((5, 20, 30, 40, 0.9, 0), (40, 2, 60, 20, 0.1, 1))
    drawing = draw(image, guesses, NAMES, truth=sample((5, 22, 28, 40, 0), size=(64, 48)))
    assert drawing.size == (640, 480)
    pixels = np.asarray(drawing)
    assert (pixels == (230, 25, 75)).all(-1).sum() > 1000
    assert not (pixels == (0, 130, 200)).all(-1).any()  # below the smallest score to draw
    assert (pixels[215:225, 50:280] == 255).all(-1).any()  # dashes of the true box
    assert not pixels[300:, 400:].any()
    assert not image.any()
