"""Distillation of a whole network: what the loss measures, and that it pulls a student to its teacher."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.golden_files import with_random_norms
from support.small_detector import coloured_squares, small_network
from torch.distributions import Categorical, kl_divergence

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.recipes import RECIPES
from effscope.training.teaching import Teacher, levels_of, observed, teaching_loss
from effscope.training.train import train

NC, SIDE = 2, 64


def answers(seed: int, n: int = 2) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    levels = [torch.randn(n, 64 + NC, side, side, generator=random) for side in (4, 2)]
    return levels, [torch.randn(n, 8, side, side, generator=random) for side in (4, 2)]


def test_equal_answers_have_no_loss() -> None:
    assert teaching_loss(answers(0), answers(0)).item() == pytest.approx(0, abs=1e-5)


def test_the_loss_is_the_sum_of_three_divergences() -> None:
    """Against torch.distributions, level by level."""
    (own, own_maps), (given, maps) = answers(0), answers(1)
    p = [level[:, 64:].sigmoid() for level in given]
    weight = sum(level.amax(1).sum() for level in p)
    classes = sum(
        kl_divergence(
            torch.distributions.Bernoulli(logits=b[:, 64:]), torch.distributions.Bernoulli(logits=a[:, 64:])
        ).sum()
        for a, b in zip(own, given, strict=True)
    )
    sides = torch.zeros(())
    for a, b in zip(own, given, strict=True):
        p_side, q_side = (Categorical(logits=x[:, :64].unflatten(1, (4, 16)).movedim(2, -1)) for x in (b, a))
        sides = sides + (kl_divergence(p_side, q_side).mean(1) * b[:, 64:].sigmoid().amax(1)).sum()
    same = torch.stack([(a - b).square().mean() / b.var() for a, b in zip(own_maps, maps, strict=True)]).mean()
    truth = (classes + sides) / weight + same
    assert teaching_loss((own, own_maps), (given, maps)).item() == pytest.approx(truth.item(), rel=1e-4)


def test_maps_of_other_widths_are_left_out() -> None:
    (levels, maps), other = answers(0), answers(0)
    narrow = (levels, [m[:, :4] for m in maps])
    assert teaching_loss(narrow, other).item() == pytest.approx(0, abs=1e-5)


def test_the_teacher_answers_what_its_network_computes() -> None:
    network = with_random_norms(small_network(), 1)
    shown = torch.rand(2, 3, SIDE, SIDE)
    teacher = Teacher(network, torch.device("cpu"))
    levels, maps = teacher.answer(shown)
    views, truth = observed(teacher.network, shown)
    assert len(maps) == len(truth) == len(levels)
    for a, b in zip(levels, levels_of(views), strict=True):
        assert (a - b).norm() < 0.05 * b.norm()


def test_a_student_comes_nearer_to_its_teacher() -> None:
    """The same training with and without a teacher that moves one class far up: only with it the logits follow."""
    teacher, student = small_network(0), small_network(0)
    for level in range(3):
        teacher.get_parameter(f"model.22.cv3.{level}.2.bias").data[1] = 4.0
    data, shown = coloured_squares(16), torch.rand(4, 3, SIDE, SIDE)
    logits = {}
    for gain in (0.0, 50.0):
        recipe = replace(
            RECIPES["standard"],
            lr=1e-2,
            warmup_epochs=1.0,
            distil_gain=gain,
            mosaic=0.0,
            ema_ramp_steps=1,
            ema_decay=0.5,
        )
        config = TrainConfig(imgsz=SIDE, epochs=6, batch=8, device="cpu", recipe=recipe)
        done = train(student, data, config, teacher=teacher)
        learned = small_network()
        learned.load_state_dict(done.state)
        levels, _ = Teacher(learned, torch.device("cpu")).answer(shown)
        logits[gain] = torch.cat([level[:, 65].flatten() for level in levels]).float().mean().item()
    assert logits[50.0] > logits[0.0] + 0.05


def test_a_gain_without_a_teacher_is_refused() -> None:
    config = TrainConfig(imgsz=SIDE, epochs=1, batch=8, device="cpu", recipe=replace(RECIPES["quick"], distil_gain=1.0))
    with pytest.raises(EffscopeError, match="distil_gain needs a teacher"):
        train(small_network(), coloured_squares(4), config)
