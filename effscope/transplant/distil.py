"""Block-wise distillation: a layer learns the outputs of the layer that it replaces. It needs no labels.

Inputs and outputs come from the base (`transplant.record`). Only the replacement learns, with AdamW; its batch norms
keep their statistics. An eighth of the images is held back. The state with the least error on them is kept, so a layer
never ends worse than it began. After a clearly higher error the best state comes back and the learning rate falls.
Layers are fitted independently of each other, so their order does not matter.
Sources: arXiv 1911.13053 (block-wise supervision); docs/background.md, "Inheriting weights".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effscope.config import DistilConfig
from effscope.nn.precision import amp
from effscope.nn.preserved import eval_mode, requires_grad_kept
from effscope.nn.random_state import own_random_state
from effscope.progress import Progress, silent
from effscope.transplant.record import Pairs, Tensors

CHECK_STEPS = 20
"""Steps between two errors on the held-back images, and steps of the warm-up."""

WORSE, SLOWER = 1.1, 0.3
"""An error this many times the best one brings the best state back; the learning rate is multiplied by the second."""

STEP_POSITIONS = 16 * 32 * 32
"""Most positions of the largest map in one step: large maps need fewer images, and a step stays short."""

LEAST_RATE = 0.02
"""Learning rate at the end, relative to the beginning."""

Loss = Callable[[Tensors, Tensors], Tensor]
"""(outputs, wanted outputs) -> scalar, 0 for equal ones."""


@dataclass(frozen=True)
class Distilled:
    """Errors on the held-back images before and after; `after` is never higher."""

    before: float
    after: float


def normalised_error(given: Tensors, wanted: Tensors) -> Tensor:
    """Mean over outputs of MSE / variance of the target: 0 is exact, 1 is as good as the target's mean."""
    pairs = [(g.float(), w.float()) for g, w in zip(given, wanted, strict=True)]
    return torch.stack([(g - w).square().mean() / w.var().clamp_min(1e-12) for g, w in pairs]).mean()


def class_divergence(first: int) -> Loss:
    """The loss of class logits in channels from `first` on: divergence of their probabilities from the wanted ones.

    Binary cross-entropy less its least value, divided by the sum of the largest wanted probability of each position.
    Unlike squared errors of logits it ignores how far below zero the background is.
    """

    def divergence(given: Tensors, wanted: Tensors) -> Tensor:
        total, weight = torch.zeros(()), torch.zeros(())
        for g, w in zip(given, wanted, strict=True):
            logits, target = g[:, first:].float(), w[:, first:].float().clamp(-30, 30)
            p = target.sigmoid()
            cross, least = (F.binary_cross_entropy_with_logits(x, p, reduction="sum") for x in (logits, target))
            total, weight = total + cross - least, weight + p.amax(1).sum()
        return total / weight.clamp_min(1e-12)

    return divergence


def distil(
    layer: nn.Module,
    pairs: Pairs,
    trained: Collection[str],
    config: DistilConfig,
    seed: int,
    progress: Progress = silent,
    loss: Loss = normalised_error,
) -> Distilled:
    """Fit a layer to recorded pairs, in place.

    The result depends only on the arguments (bfloat16 sums also on the processor and its number of threads). Modes,
    gradient flags and the global random state are restored.

    Args:
        layer: a layer with the inputs and outputs of the recorded layer.
        pairs: inputs and outputs of the replaced layer, from `record`.
        trained: names of the parameters to train, relative to the layer. The other parameters keep their values.
        config: steps, batch, learning rate.
        seed: seed of the images in each step.
        progress: called with the fraction done and a text.
        loss: what is minimised.
    """
    learns, held = pairs.divided()
    device = next(layer.parameters()).device
    with own_random_state(seed, device), requires_grad_kept(layer), eval_mode(layer):
        for name, p in layer.named_parameters():
            p.requires_grad_(p.requires_grad and name in trained)
        before = error_of(layer, held, config.batch, loss)
        if not any(p.requires_grad for p in layer.parameters()):
            return Distilled(before, before)
        after = _fit(layer, learns, held, config, seed, progress, loss, before)
        return Distilled(before, after)


@torch.no_grad()
def error_of(layer: nn.Module, pairs: Pairs, batch: int, loss: Loss = normalised_error) -> float:
    """The loss of a layer in eval mode: mean over all recorded pairs, `batch` images at a time."""
    device = next(layer.parameters()).device
    total = 0.0
    with eval_mode(layer):
        for start in range(0, len(pairs), batch):
            part = pairs.some(slice(start, start + batch))
            total += _loss(layer, part, device, loss).item() * len(part)
    return total / len(pairs)


def _loss(layer: nn.Module, pairs: Pairs, device: torch.device, loss: Loss) -> Tensor:
    with amp(device):
        out = layer(*(tensor.to(device).float() for tensor in pairs.inputs))
    return loss(out if isinstance(out, tuple) else (out,), tuple(tensor.to(device) for tensor in pairs.outputs))


def _fit(
    layer: nn.Module, learns: Pairs, held: Pairs, config: DistilConfig, seed: int, progress: Progress, loss: Loss,
    start: float,
) -> float:  # fmt: skip
    """The optimiser steps, for the parameters with `requires_grad`; the best state is loaded. Returns its error."""
    device = next(layer.parameters()).device
    learners = [p for p in layer.parameters() if p.requires_grad]
    order = torch.Generator().manual_seed(seed)
    best, state, rate, since = start, _state(layer), config.lr, 0
    optimizer, batch = torch.optim.AdamW(learners, rate), _images_a_step(learns, config.batch)
    for step in range(config.steps):
        since += 1
        left = max(0.5 + 0.5 * math.cos(math.pi * step / config.steps), LEAST_RATE)
        optimizer.param_groups[0]["lr"] = rate * left * min(since / CHECK_STEPS, 1.0)
        pick = torch.randint(len(learns), (batch,), generator=order)
        _loss(layer, learns.some(pick), device, loss).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % CHECK_STEPS and step + 1 < config.steps:
            continue
        error = error_of(layer, held, config.batch, loss)
        progress((step + 1) / config.steps, f"fitting to the replaced part, error {min(error, best):.3f}")
        if error < best:
            best, state = error, _state(layer)
        elif not error <= WORSE * best:
            layer.load_state_dict(state)
            rate, since = SLOWER * rate, 0
            optimizer = torch.optim.AdamW(learners, rate)
    layer.load_state_dict(state)
    return best


def _images_a_step(pairs: Pairs, most: int) -> int:
    """Images in a step: `most`, or as many as `STEP_POSITIONS` allows."""
    positions = max(math.prod(tensor.shape[2:]) for tensor in (*pairs.inputs, *pairs.outputs))
    return max(min(most, STEP_POSITIONS // positions), 1)


def _state(layer: nn.Module) -> Mapping[str, Tensor]:
    return copy.deepcopy(layer.state_dict())
