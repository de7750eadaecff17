"""Distillation of a whole network: the student also learns what another detector of the same classes answers.

Three terms: class probabilities (binary cross-entropy less its least value), distributions of box sides
(Kullback-Leibler divergence, weighted by the teacher's confidence), and the maps that enter the head (squared error
over variance). Sources: arXiv 1503.02531; arXiv 2102.12252 (distributions of box sides).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from effscope.detect.boxes import BINS
from effscope.nn.build import Network, raw
from effscope.nn.precision import amp
from effscope.nn.preserved import temporary_hooks
from effscope.training.losses import ONE_TO_MANY, ONE_TO_ONE

_BOX_CHANNELS = 4 * BINS
_LARGEST_LOGIT = 30.0

Seen = tuple[Sequence[Tensor], Sequence[Tensor]]
"""Raw levels of the head, and the maps that enter the head."""


class Teacher:
    """A detector in eval mode whose answers are learned.

    Args:
        network: a detector with the student's classes; its weights are not changed, its layers are in eval mode.
        device: where it runs.
    """

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network = raw(network).to(device).eval()

    @torch.no_grad()
    def answer(self, pixels: Tensor) -> Seen:
        """The teacher's levels and maps for images (B, 3, H, W)."""
        with amp(pixels.device):
            views, maps = observed(self.network, pixels)
        return levels_of(views), maps


def observed(network: Network, pixels: Tensor) -> tuple[Mapping[str, Sequence[Tensor]], Sequence[Tensor]]:
    """A network's views for images, and the maps that entered its head."""
    maps: list[Tensor] = []
    head = list(network.model.values())[-1]
    hook = head.register_forward_pre_hook(lambda _, given: maps.extend(given))
    with temporary_hooks([hook]):
        views = network(pixels)
    return views, maps


def levels_of(views: Mapping[str, Sequence[Tensor]]) -> Sequence[Tensor]:
    """The raw levels of the one-to-many head, or of the only one."""
    return views[ONE_TO_MANY] if ONE_TO_MANY in views else views[ONE_TO_ONE]


def teaching_loss(student: Seen, teacher: Seen) -> Tensor:
    """How far the student's answers are from the teacher's: 0 for equal ones, a scalar."""
    classes = sides = weight = torch.zeros((), device=teacher[0][0].device)
    levels = [(own.float(), given.float()) for own, given in zip(student[0], teacher[0], strict=True)]
    for own, given in levels:
        logits = given[:, _BOX_CHANNELS:].clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        p = logits.sigmoid()
        cross, least = (
            F.binary_cross_entropy_with_logits(x, p, reduction="sum") for x in (own[:, _BOX_CHANNELS:], logits)
        )
        confidence = p.amax(1, keepdim=True)
        log_q, log_p = (x[:, :_BOX_CHANNELS].reshape(len(x), 4, BINS, -1).log_softmax(2) for x in (own, given))
        divergence = (log_p.exp() * (log_p - log_q)).sum(2).mean(1)
        classes, sides = classes + cross - least, sides + (confidence.flatten(1) * divergence).sum()
        weight = weight + confidence.sum()
    maps = [
        (own.float() - given.float()).square().mean() / given.float().var().clamp_min(1e-12)
        for own, given in zip(student[1], teacher[1], strict=True)
        if own.shape == given.shape
    ]
    same = torch.stack(maps).mean() if maps else torch.zeros_like(classes)
    total: Tensor = (classes + sides) / weight.clamp_min(1.0) + same
    return total
