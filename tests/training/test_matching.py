"""The supervision gap and the shared best points: by hand, and against loops in plain Python."""

from __future__ import annotations

import pytest
import torch
from support.small_detector import random_levels, random_truth

from effscope.recipes import Recipe
from effscope.training.assign import Assignment
from effscope.training.losses import assign_rules, detector_loss
from effscope.training.matching import TOPS, Matching, matching


def assigned(*rows: tuple[int, int, int, float], points: int = 20) -> Assignment:
    """From rows of (image, point, box, target)."""
    table = torch.tensor([row[:3] for row in rows], dtype=torch.int64).reshape(-1, 3)
    strength = torch.tensor([row[3] for row in rows])
    return Assignment(table[:, 0], table[:, 1], table[:, 2], strength, torch.zeros(2, points, 1))


MANY = assigned((0, 3, 0, 0.9), (0, 4, 0, 0.5), (0, 5, 0, 0.2), (1, 3, 1, 0.7))


def test_gap_and_tops_by_hand() -> None:
    best = matching(MANY, assigned((0, 3, 0, 0.9)), 2)
    assert best.means() == pytest.approx({"gap": 0.5 + 0.2, "top1": 1, "top5": 1, "top10": 1})
    third = matching(MANY, assigned((0, 5, 0, 0.9)), 2)
    assert third.means() == pytest.approx({"gap": 0.9 - 0.2 + 0.9 + 0.5, "top1": 0, "top5": 1, "top10": 1})
    outside = matching(MANY, assigned((0, 9, 0, 0.8)), 2)
    assert outside.means() == pytest.approx({"gap": 0.8 + 1.6, "top1": 0, "top5": 0, "top10": 0})
    other_box = matching(MANY, assigned((1, 3, 0, 0.8)), 2)  # the one-to-many head learns another box there
    assert other_box.means() == pytest.approx({"gap": 0.8, "top1": 0, "top5": 0, "top10": 0})


def test_batches_add_up_and_no_points_give_no_means() -> None:
    both = matching(MANY, assigned((0, 3, 0, 0.9), (1, 3, 1, 0.7)), 2)
    one, two = matching(MANY, assigned((0, 3, 0, 0.9)), 2), matching(MANY, assigned((1, 3, 1, 0.7)), 2)
    assert (one + two).means() == pytest.approx(both.means())
    assert matching(MANY, assigned(), 2).means() == {}
    assert matching(assigned(), assigned(), 2) == Matching()
    assert matching(assigned(), assigned((0, 1, 0, 0.4)), 2).means()["gap"] == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(4))
def test_equals_plain_loops_on_random_heads(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth = random_truth(generator, 4, 12, 3, 128)
    views = {name: random_levels(generator, 4, 3, 128) for name in ("o2m", "o2o")}
    many, one = detector_loss(views, truth, (128, 128), Recipe()).assigned
    best: dict[tuple[int, int], dict[int, float]] = {}
    for image, point, box, target in zip(
        *(t.tolist() for t in (many.image, many.point, many.box, many.strength)), strict=True
    ):
        best.setdefault((image, box), {})[point] = target
    gap, within = 0.0, [0] * len(TOPS)
    for image, point, box, target in zip(
        *(t.tolist() for t in (one.image, one.point, one.box, one.strength)), strict=True
    ):
        omega = best.get((image, box), {})
        gap += target - omega.get(point, 0.0) + sum(t for k, t in omega.items() if k != point)
        place = sum(t > omega[point] for t in omega.values()) if point in omega else 99
        within = [n + (place < k) for n, k in zip(within, TOPS, strict=True)]
    found = matching(many, one, 12)
    assert found.points == len(one.image) > 0
    assert found.gap == pytest.approx(gap, rel=1e-4)
    assert list(found.within) == within


def test_equal_heads_share_their_best_point() -> None:
    """With r = 1 both heads order the points equally, so the one-to-one point is the best one-to-many point."""
    generator = torch.Generator().manual_seed(0)
    truth = random_truth(generator, 4, 3, 3, 128)
    levels = random_levels(generator, 4, 3, 128)
    for r in (0.5, 1.0, 2.0):
        recipe = Recipe(o2o_ratio=r)
        assert assign_rules(recipe)["o2o"].beta == pytest.approx(r * 6)
        many, one = detector_loss({"o2m": levels, "o2o": levels}, truth, (128, 128), recipe).assigned
        assert matching(many, one, 3).means()["top1"] > 0.9  # a point that two boxes take goes to one of them
    own = assign_rules(Recipe(o2o_alpha=0.25, o2o_beta=6.0))["o2o"]
    assert (own.topk, own.alpha, own.beta) == (1, 0.25, 6.0)
    apart = detector_loss(
        {"o2m": levels, "o2o": levels}, truth, (128, 128), Recipe(o2o_alpha=2.0, o2o_beta=0.5)
    ).assigned
    assert matching(*apart, 3).means()["top1"] < matching(many, one, 3).means()["top1"]
