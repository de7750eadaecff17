"""Block-wise distillation: a layer learns the outputs of the layer that it replaces. It needs no labels.

Inputs and outputs come from the base (`transplant.record`). Only the replacement is fitted to them: mean squared error
divided by the variance of the target, AdamW, one-cycle learning rate. Its batch norms are recalibrated at the end.
Layers are fitted independently of each other, so their order does not matter.
Sources: arXiv 1911.13053 (block-wise supervision); docs/background.md, "Inheriting weights".
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from effscope.config import DistilConfig
from effscope.nn.precision import amp
from effscope.nn.preserved import attributes_kept, eval_mode, requires_grad_kept, temporary_hooks
from effscope.nn.random_state import own_random_state
from effscope.progress import Progress, silent
from effscope.transplant.record import Pairs, Tensors

PROGRESS_STEPS = 10
"""Steps between two reports of progress."""


def distil(
    layer: nn.Module,
    pairs: Pairs,
    trained: Collection[str],
    config: DistilConfig,
    seed: int,
    progress: Progress = silent,
) -> float:
    """Fit a layer to recorded pairs, in place.

    The result depends only on the arguments (bfloat16 sums also on the processor and its number of threads). Modes,
    gradient flags and the global random state are restored.

    Args:
        layer: a layer with the inputs and outputs of the recorded layer.
        pairs: inputs and outputs of the replaced layer, from `record`.
        trained: names of the parameters to train, relative to the layer. The other parameters keep their values, and so
            do the statistics of batch norms that do not depend on trained parameters.
        config: steps, batch, learning rates.
        seed: seed of the images in each step.
        progress: called with the fraction done and a text.

    Returns:
        The normalised error at the end, in eval mode, over all pairs.
    """
    device = next(layer.parameters()).device
    with own_random_state(seed, device), requires_grad_kept(layer), eval_mode(layer):
        for name, p in layer.named_parameters():
            p.requires_grad_(p.requires_grad and name in trained)
        norms = _reached_norms(layer, _floats(pairs.inputs, slice(0, 1), device))
        for norm in norms:
            norm.train()
        _fit(layer, pairs, config, seed, progress)
        _recalibrate(layer, norms, pairs, config.batch, device)
        return error_of(layer, pairs, config.batch)


def normalised_error(given: Tensors, wanted: Tensors) -> Tensor:
    """Mean over outputs of MSE / variance of the target, a scalar: 0 is exact, 1 is as good as the target's mean."""
    pairs = [(g.float(), w.float()) for g, w in zip(given, wanted, strict=True)]
    return torch.stack([(g - w).square().mean() / w.var().clamp_min(1e-12) for g, w in pairs]).mean()


@torch.no_grad()
def error_of(layer: nn.Module, pairs: Pairs, batch: int) -> float:
    """Normalised error of a layer in eval mode: mean over all recorded pairs, `batch` images at a time."""
    device = next(layer.parameters()).device
    errors, weights = [], []
    with eval_mode(layer):
        for start in range(0, len(pairs), batch):
            part = slice(start, start + batch)
            with amp(device):
                out = layer(*_floats(pairs.inputs, part, device))
            errors.append(normalised_error(out, tuple(t[part].to(device) for t in pairs.outputs)).item())
            weights.append(len(pairs.inputs[0][part]))
    return sum(e * w for e, w in zip(errors, weights, strict=True)) / sum(weights)


def _fit(layer: nn.Module, pairs: Pairs, config: DistilConfig, seed: int, progress: Progress) -> None:
    """The optimiser steps, for the parameters with `requires_grad`."""
    device = next(layer.parameters()).device
    learners = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learners, config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.peak_lr, total_steps=config.steps)
    order = torch.Generator().manual_seed(seed)
    for step in range(config.steps):
        pick = torch.randint(len(pairs), (config.batch,), generator=order)
        with amp(device):
            out = layer(*_floats(pairs.inputs, pick, device))
        loss = normalised_error(out, tuple(t[pick].to(device) for t in pairs.outputs))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % PROGRESS_STEPS == 0 or step + 1 == config.steps:
            progress((step + 1) / config.steps, f"fitting to the replaced block, error {loss.item():.3f}")


def _floats(tensors: Tensors, images: slice | Tensor, device: torch.device) -> Tensors:
    """Some images of recorded tensors, float32 on a device."""
    return tuple(tensor[images].to(device).float() for tensor in tensors)


def _reached_norms(layer: nn.Module, given: Tensors) -> list[nn.BatchNorm2d]:
    """Batch norms that depend on trained parameters: their input or their own scale requires a gradient."""
    reached: list[nn.BatchNorm2d] = []

    def look(module: nn.Module, inputs: Tensors) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        if inputs[0].requires_grad or module.weight.requires_grad:
            reached.append(module)

    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    with temporary_hooks(norm.register_forward_pre_hook(look) for norm in norms):
        layer(*given)
    return reached


def _recalibrate(layer: nn.Module, norms: list[nn.BatchNorm2d], pairs: Pairs, batch: int, device: torch.device) -> None:
    """Set the statistics of these batch norms (in training mode) to plain averages over the inputs."""
    with attributes_kept(norms, "momentum"), torch.no_grad(), amp(device):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        for start in range(0, len(pairs), batch):
            layer(*_floats(pairs.inputs, slice(start, start + batch), device))
