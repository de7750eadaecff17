from __future__ import annotations

import pytest
import torch
from support.small_detector import random_truth

from effscope.detect.boxes import ciou
from effscope.nn.anchor_points import anchor_points
from effscope.training.assign import AssignRule, Truth, assign

IMGSZ, NC = 64, 3
CELLS, STRIDES = anchor_points([(8, 8), (4, 4), (2, 2)], [8, 16, 32])
POINTS, STRIDE = (CELLS * STRIDES).T, STRIDES.T


def around(points: torch.Tensor, half: float) -> torch.Tensor:
    """A square box around each point, (1, A, 4)."""
    return torch.cat((points - half, points + half), -1)[None]


def one_box(*xyxy: float, label: int = 0) -> Truth:
    return Truth(torch.tensor([[xyxy]]), torch.tensor([[label]]), torch.tensor([[True]]))


def test_only_points_inside_the_box_learn_it_and_at_most_k() -> None:
    truth = one_box(8.0, 8.0, 40.0, 40.0, label=1)
    scores = torch.full((1, len(POINTS), NC), 0.5)
    given = assign(scores, around(POINTS, 16), POINTS, truth, AssignRule(topk=10))
    assert given.positive.sum() == 10
    chosen = POINTS[given.positive[0]]
    assert bool(((chosen > 8) & (chosen < 40)).all())
    assert given.scores[0, :, [0, 2]].sum() == 0
    assert torch.equal(given.box, torch.zeros(10, dtype=torch.int64))


def test_one_to_one_takes_the_best_aligned_point() -> None:
    truth = one_box(8.0, 8.0, 40.0, 40.0)
    predicted = around(POINTS, 16)
    given = assign(torch.full((1, len(POINTS), NC), 0.5), predicted, POINTS, truth, AssignRule(topk=1))
    overlap = ciou(truth.boxes[0].expand(len(POINTS), -1), predicted[0])
    assert given.positive.sum() == 1
    assert overlap[given.positive[0]].item() == pytest.approx(overlap.max().item())


def test_score_decides_between_equal_boxes() -> None:
    truth = one_box(8.0, 8.0, 40.0, 40.0)
    scores = torch.full((1, len(POINTS), NC), 0.1)
    scores[0, 20, 0] = 0.9  # centre (36, 20), inside
    same = truth.boxes.expand(1, len(POINTS), 4)
    given = assign(scores, same, POINTS, truth, AssignRule(topk=1))
    assert given.positive[0].nonzero().flatten().tolist() == [20]
    assert given.scores[0, 20, 0].item() == pytest.approx(1.0, abs=1e-4)  # its overlap


def test_strongest_target_equals_greatest_overlap() -> None:
    truth = one_box(8.0, 8.0, 40.0, 40.0)
    predicted = around(POINTS, 14)
    given = assign(torch.rand(1, len(POINTS), NC), predicted, POINTS, truth, AssignRule())
    overlap = ciou(truth.boxes[0].expand(len(POINTS), -1), predicted[0])
    assert given.scores.max().item() == pytest.approx(overlap[given.positive[0]].max().item(), rel=1e-4)


def test_a_point_that_two_boxes_take_goes_to_the_greater_overlap() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 32.0, 32.0], [4.0, 4.0, 28.0, 28.0]]])
    truth = Truth(boxes, torch.tensor([[0, 1]]), torch.tensor([[True, True]]))
    predicted = boxes[:, :1].expand(1, len(POINTS), 4)  # every point predicts the first box
    given = assign(torch.full((1, len(POINTS), NC), 0.5), predicted, POINTS, truth, AssignRule(topk=30))
    inside_both = ((POINTS > 4) & (POINTS < 28)).all(-1)
    assert bool(given.positive[0, inside_both].all())
    assert not bool(given.box[inside_both[given.point]].any())


def test_a_small_box_is_widened_to_find_points() -> None:
    truth = one_box(13.0, 13.0, 15.0, 15.0)
    same = truth.boxes.expand(1, len(POINTS), 4)
    given = assign(torch.full((1, len(POINTS), NC), 0.5), same, POINTS, truth, AssignRule(least_side=16.0))
    chosen = POINTS[given.positive[0]]
    assert len(chosen) > 0
    assert bool(((chosen > 6) & (chosen < 22)).all())


def test_no_truth_means_all_background() -> None:
    truth = Truth(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.bool))
    predicted = around(POINTS, 8).expand(2, -1, -1)
    given = assign(torch.rand(2, len(POINTS), NC), predicted, POINTS, truth, AssignRule())
    assert not bool(given.positive.any())
    assert given.scores.sum() == 0


@pytest.mark.parametrize("seed", range(4))
def test_properties_on_random_batches(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = random_truth(generator, images=5, most=12, nc=NC, imgsz=IMGSZ)
    scores = torch.rand(5, len(POINTS), NC, generator=generator)
    predicted = around(POINTS, 10).expand(5, -1, -1)
    given = assign(scores, predicted, POINTS, truth, AssignRule())
    assert bool(((given.scores >= 0) & (given.scores <= 1)).all())
    assert bool(((given.scores > 0).sum(-1) <= 1).all())
    assert not bool(given.scores[~given.positive].any())
    assert bool(truth.valid[given.image, given.box].all())
    assert given.positive.sum() == len(given.point)  # no point learns two boxes
    alone = [
        assign(scores[k : k + 1], predicted[k : k + 1], POINTS, _only(truth, k), AssignRule()).scores[0]
        for k in range(5)
    ]
    assert torch.allclose(torch.stack(alone), given.scores)


def _only(truth: Truth, k: int) -> Truth:
    return Truth(truth.boxes[k : k + 1], truth.labels[k : k + 1], truth.valid[k : k + 1])
