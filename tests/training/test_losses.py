from __future__ import annotations

import math

import pytest
import torch
from support.small_detector import random_levels, random_truth

from effscope.recipes import Recipe
from effscope.training.assign import AssignRule, Truth
from effscope.training.losses import detector_loss, head_loss

IMGSZ, NC = 128, 4
SIZE = (IMGSZ, IMGSZ)
NO_BOX = Truth(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.bool))


def perfect_levels(truth_box: tuple[float, float, float, float], label: int) -> list[torch.Tensor]:
    """A head that predicts one box at every point; its sides are whole strides."""
    levels = []
    for stride in (8, 16, 32):
        cells = IMGSZ // stride
        level = torch.full((1, 64 + NC, cells, cells), -30.0)
        centre = (torch.arange(cells) + 0.5) * stride
        for k, sign in enumerate((-1, -1, 1, 1)):
            along = centre[None, :] if k % 2 == 0 else centre[:, None]
            distance = sign * (truth_box[k] - along) / stride
            whole = distance.clamp(0, 14).floor()
            part = distance.clamp(0, 14) - whole
            for bin_ in range(16):
                weight = torch.where(whole == bin_, 1 - part, torch.where(whole + 1 == bin_, part, 0.0))
                level[0, k * 16 + bin_] = weight.clamp(min=1e-13).log().expand(cells, cells)
        level[0, 64 + label] = 30.0
        levels.append(level)
    return levels


def test_perfect_boxes_cost_nothing() -> None:
    box = (20.0, 20.0, 84.0, 100.0)
    truth = Truth(torch.tensor([[box]]), torch.tensor([[2]]), torch.tensor([[True]]))
    losses = head_loss(perfect_levels(box, 2), truth, SIZE, Recipe(), AssignRule(topk=10))
    assert losses.box.item() == pytest.approx(0, abs=1e-3)


def test_dual_head_is_the_sum_of_both() -> None:
    generator = torch.Generator().manual_seed(0)
    many, one = (random_levels(generator, 3, NC, IMGSZ) for _ in range(2))
    truth = random_truth(generator, 3, 6, NC, IMGSZ)
    both = detector_loss({"o2m": many, "o2o": one}, truth, SIZE, Recipe()).total
    first = head_loss(many, truth, SIZE, Recipe(), AssignRule(topk=10)).total
    second = head_loss(one, truth, SIZE, Recipe(), AssignRule(topk=1)).total
    assert both.item() == pytest.approx((first + second).item(), rel=1e-6)


def test_background_alone_costs_only_class_loss() -> None:
    levels = random_levels(torch.Generator().manual_seed(0), 2, NC, IMGSZ)
    losses = detector_loss({"o2m": levels}, NO_BOX, SIZE, Recipe(cls_gain=1.0))
    logits = torch.cat([level[:, 64:].flatten() for level in levels])
    assert losses.box.item() == losses.dfl.item() == 0
    assert losses.cls.item() == pytest.approx(torch.nn.functional.softplus(logits).sum().item(), rel=1e-5)


def test_gains_multiply() -> None:
    generator = torch.Generator().manual_seed(1)
    levels, truth = random_levels(generator, 3, NC, IMGSZ), random_truth(generator, 3, 6, NC, IMGSZ)
    plain = detector_loss({"o2m": levels}, truth, SIZE, Recipe(box_gain=1, cls_gain=1, dfl_gain=1))
    losses = detector_loss({"o2m": levels}, truth, SIZE, Recipe(box_gain=2, cls_gain=3, dfl_gain=5))
    for name, gain in (("box", 2), ("cls", 3), ("dfl", 5)):
        assert getattr(losses, name).item() == pytest.approx(gain * getattr(plain, name).item(), rel=1e-6)


def test_gradient_descent_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(2)
    truth = random_truth(generator, 3, 6, NC, IMGSZ)
    levels = [level.requires_grad_() for level in random_levels(generator, 3, NC, IMGSZ)]
    optimizer = torch.optim.Adam(levels, lr=0.1)
    totals = []
    for _ in range(40):
        total = detector_loss({"o2m": levels}, truth, SIZE, Recipe()).total
        totals.append(total.item())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert totals[-1] < 0.5 * totals[0]


def test_losses_of_half_precision_levels_are_float32() -> None:
    generator = torch.Generator().manual_seed(3)
    levels, truth = random_levels(generator, 2, NC, IMGSZ), random_truth(generator, 2, 6, NC, IMGSZ)
    halves = [level.bfloat16() for level in levels]
    half = detector_loss({"o2m": halves}, truth, SIZE, Recipe()).total
    full = detector_loss({"o2m": [level.float() for level in halves]}, truth, SIZE, Recipe()).total
    assert half.dtype == torch.float32
    assert half.item() == full.item()


def test_not_finite_heads_give_a_loss_that_is_not_finite() -> None:
    levels = random_levels(torch.Generator().manual_seed(4), 2, NC, IMGSZ)
    levels[0][0, 70 - NC, 0, 0] = math.nan
    truth = random_truth(torch.Generator().manual_seed(4), 2, 6, NC, IMGSZ)
    assert not bool(detector_loss({"o2m": levels}, truth, SIZE, Recipe()).total.isfinite())
