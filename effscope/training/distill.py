"""Block-wise distillation: a swapped layer learns to give what the layer it replaces gave, without labels.

Inputs and outputs of the layer are taken once from the base on training images; the layer alone is then fitted to
them (normalised MSE, AdamW, one-cycle), its batch norms recalibrated at the end. Layers are independent of each other.
Sources: REFERENCE section 5; arXiv 1911.13053 (block-wise supervision).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effscope.config import DistilConfig
from effscope.nn.build import Network
from effscope.nn.precision import amp
from effscope.progress import Progress


@dataclass(frozen=True)
class Pairs:
    """What went into a layer and came out of it: one tuple of tensors (images, ...) per input and per output."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])


@torch.no_grad()
def record(network: Network, position: int, batches: Iterable[Tensor], max_bytes: int) -> Pairs:
    """Inputs and outputs of one layer over batches of images (B, 3, H, W), float 0-1.

    Stops early when the kept tensors (on the CPU, bfloat16) reach `max_bytes`. Mode and hooks of the network are
    as before afterwards, also when the forward pass raises.
    """
    kept: list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]] = []

    def take(module: nn.Module, given: tuple[Tensor, ...], out: tuple[Tensor, ...]) -> None:
        kept.append((tuple(_stored(t) for t in given), tuple(_stored(t) for t in out)))

    was_training = {module: module.training for module in network.modules()}
    handle = network.model[str(position)].register_forward_hook(take)
    device = next(network.parameters()).device
    used = 0
    try:
        network.eval()
        for images in batches:
            with amp(device):
                network(images.to(device))
            used += sum(t.nbytes for side in kept[-1] for t in side)
            if used >= max_bytes:
                break
    finally:
        handle.remove()
        for module, training in was_training.items():
            module.training = training
    sides = [tuple(torch.cat(parts) for parts in zip(*(k[i] for k in kept), strict=True)) for i in (0, 1)]
    return Pairs(sides[0], sides[1])


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.bfloat16)


def normalised_error(given: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
    """Mean over outputs of MSE / variance of the target: 0 is perfect, 1 is as good as the target's mean."""
    pairs = [(g.float(), w.float()) for g, w in zip(given, wanted, strict=True)]
    return torch.stack([(g - w).square().mean() / w.var().clamp_min(1e-12) for g, w in pairs]).mean()


def _moved_norms(layer: nn.Module, given: tuple[Tensor, ...]) -> list[nn.BatchNorm2d]:
    """Batch norms that see other values once the trained parameters change: those fed, or scaled, by one of them."""
    moved: list[nn.BatchNorm2d] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        if inputs[0].requires_grad or module.weight.requires_grad:
            moved.append(module)

    handles = [m.register_forward_pre_hook(look) for m in layer.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        layer.eval()
        layer(*given)
    finally:
        for handle in handles:
            handle.remove()
    return moved


def _recalibrate(layer: nn.Module, norms: list[nn.BatchNorm2d], pairs: Pairs, batch: int, device: torch.device) -> None:
    """Statistics of these batch norms as plain averages over the recorded inputs."""
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    with torch.no_grad(), amp(device):
        for start in range(0, len(pairs), batch):
            layer(*(t[start : start + batch].to(device).float() for t in pairs.inputs))
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum


def distil(
    layer: nn.Module,
    pairs: Pairs,
    trained: Collection[str],
    config: DistilConfig,
    seed: int,
    progress: Progress | None = None,
) -> float:
    """Fit a layer to recorded pairs, in place.

    Args:
        layer: called with the recorded inputs, gives a tuple like the recorded outputs.
        pairs: from `record`, on the base's layer.
        trained: parameter names (relative to the layer) that learn; the others, and the statistics of batch norms
            that see none of the change, stay as inherited.
        config: steps, batch, learning rates.
        seed: order of the images.
        progress: told the fraction done and a line of text.

    Returns:
        The normalised error at the end, in eval mode, over the recorded pairs.
    """
    device = next(layer.parameters()).device
    flags = {name: p.requires_grad for name, p in layer.named_parameters()}
    for name, p in layer.named_parameters():
        p.requires_grad_(flags[name] and name in trained)
    learners = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learners, config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.peak_lr, total_steps=config.steps)
    order = torch.Generator().manual_seed(seed)
    norms = _moved_norms(layer, tuple(t[:1].to(device).float() for t in pairs.inputs))
    for norm in norms:
        norm.train()
    for step in range(config.steps):
        pick = torch.randint(len(pairs), (config.batch,), generator=order)
        with amp(device):
            out = layer(*(t[pick].to(device).float() for t in pairs.inputs))
        loss = normalised_error(out, tuple(t[pick].to(device) for t in pairs.outputs))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress and (step % 10 == 0 or step + 1 == config.steps):
            progress((step + 1) / config.steps, f"fitting to the replaced block, error {loss.item():.3f}")
    for name, p in layer.named_parameters():
        p.requires_grad_(flags[name])
    _recalibrate(layer, norms, pairs, config.batch, device)
    return error_of(layer, pairs, config.batch)


@torch.no_grad()
def error_of(layer: nn.Module, pairs: Pairs, batch: int) -> float:
    """Normalised error of a layer in eval mode over all recorded pairs."""
    device = next(layer.parameters()).device
    layer.eval()
    errors, weights = [], []
    for start in range(0, len(pairs), batch):
        part = slice(start, start + batch)
        with amp(device):
            out = layer(*(t[part].to(device).float() for t in pairs.inputs))
        errors.append(normalised_error(out, tuple(t[part].to(device) for t in pairs.outputs)).item())
        weights.append(len(pairs.inputs[0][part]))
    return sum(e * w for e, w in zip(errors, weights, strict=True)) / sum(weights)
