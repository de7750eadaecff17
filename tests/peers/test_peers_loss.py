"""Loss, assignment and gradients against Ultralytics on the same random heads and boxes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.peers_env import ask
from support.small_detector import random_levels, random_truth

from effscope.recipes import Recipe
from effscope.training.assign import AssignRule, Truth
from effscope.training.losses import ONE_TO_MANY, detector_loss, head_loss

IMGSZ, IMAGES = 256, 4

THEIRS = """
import sys, types, torch
from ultralytics.utils.loss import v8DetectionLoss

class Head(torch.nn.Module):
    def __init__(self, nc):
        super().__init__()
        self.stride, self.nc, self.reg_max = torch.tensor([8.0, 16.0, 32.0]), nc, 16

class Model(torch.nn.Module):
    def __init__(self, nc):
        super().__init__()
        self.model = torch.nn.ModuleList([torch.nn.Conv2d(1, 1, 1), Head(nc)])
        self.args = types.SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)

answers = []
for case in torch.load(sys.argv[1], weights_only=True):
    levels = [level.requires_grad_() for level in case["levels"]]
    raw = torch.cat([level.flatten(2) for level in levels], 2)
    owner, slot = case["valid"].nonzero(as_tuple=True)
    boxes = case["boxes"][owner, slot] / case["imgsz"]
    batch = {
        "batch_idx": owner.float(),
        "cls": case["labels"][owner, slot].float(),
        "bboxes": torch.cat(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), 1),
    }
    loss = v8DetectionLoss(Model(case["nc"]), tal_topk=case["topk"])
    heads = {"boxes": raw[:, :64], "scores": raw[:, 64:], "feats": levels}
    assigned, terms, _ = loss.get_assigned_targets_and_loss(heads, batch)
    terms.sum().backward()
    answers.append({
        "terms": terms.detach(), "gradients": [level.grad for level in levels],
        "positive": assigned[0], "box": assigned[1],
    })
torch.save(answers, sys.argv[2])
"""


def cases() -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        nc, most, sharp = (1, 5, 80)[seed % 3], (3, 12, 40)[seed % 3], (0.3, 1.0, 3.0)[seed // 4]
        levels = random_levels(generator, IMAGES, nc, IMGSZ, sharp)
        truth = random_truth(generator, IMAGES, most, nc, IMGSZ)
        if seed == 0:
            truth = Truth(truth.boxes * 0, truth.labels * 0, truth.valid & False)
        made.append(
            {
                "levels": levels,
                "boxes": truth.boxes,
                "labels": truth.labels,
                "valid": truth.valid,
                "nc": nc,
                "imgsz": IMGSZ,
                "topk": 1 if seed % 4 == 3 else 10,
            }
        )
    return made


def test_terms_assignments_and_gradients_agree(tmp_path: Path) -> None:
    asked, answered = tmp_path / "cases.pt", tmp_path / "answers.pt"
    torch.save(cases(), asked)
    ask(THEIRS, asked, answered)
    for case, theirs in zip(torch.load(asked), torch.load(answered), strict=True):
        levels = [level.requires_grad_() for level in case["levels"]]
        truth = Truth(case["boxes"], case["labels"], case["valid"])
        ours = head_loss(levels, truth, (IMGSZ, IMGSZ), Recipe(), AssignRule(case["topk"]))
        ours.total.backward()
        terms = torch.stack((ours.box, ours.cls, ours.dfl))
        assert torch.allclose(terms, theirs["terms"], rtol=1e-4, atol=1e-6)
        assert ours.total.item() == pytest.approx(theirs["terms"].sum().item(), rel=1e-4, abs=1e-6)
        (given,) = ours.assigned
        assert torch.equal(given.positive, theirs["positive"].bool())
        assert torch.equal(given.box, theirs["box"][given.image, given.point])
        for level, gradient in zip(levels, theirs["gradients"], strict=True):
            assert level.grad is not None
            assert (level.grad - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7


def test_cases_have_positive_points() -> None:
    """The comparison above says something only if boxes are really learnt in it."""
    for case in cases()[1:]:
        truth = Truth(case["boxes"], case["labels"], case["valid"])
        losses = detector_loss({ONE_TO_MANY: case["levels"]}, truth, (IMGSZ, IMGSZ), Recipe())
        assert losses.box.item() > 0
