"""Parts of an optimiser step: parameter groups, learning rates, gradient clipping, moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effscope.errors import unknown
from effscope.recipes import WORDS, Recipe

ADAM_BETA2 = 0.999

StateDict = dict[str, Tensor]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, fused. Biases and norms have no weight decay; tensors without
    `requires_grad` are left out."""
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    weights = [p for _, p in trained if p.ndim > 1]
    norms = [p for name, p in trained if p.ndim <= 1 and not name.endswith("bias")]
    biases = [p for name, p in trained if p.ndim <= 1 and name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": norms, "weight_decay": 0.0},
        {"params": biases, "weight_decay": 0.0, "bias": True},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, ADAM_BETA2), fused=True)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True, fused=True)
    raise unknown("optimizer", recipe.optimizer, WORDS["optimizer"])


@dataclass(frozen=True)
class Rates:
    """Learning rates and momentum of one optimiser step."""

    lr: float
    bias_lr: float
    momentum: float


def rates(step: int, steps: int, warmup_steps: float, recipe: Recipe) -> Rates:
    """Rates of one optimiser step: the learning rate rises linearly to its peak, then decays to its last value.

    Args:
        step: counted from 0.
        steps: number of steps of the whole training.
        warmup_steps: length of the rise. During it, momentum and the biases' rate move from their start values.
        recipe: `lr`, `final_lr_ratio`, `schedule`, `momentum`, `warmup_momentum`, `warmup_bias_lr`.
    """
    progress = step / max(steps - 1, 1)
    if recipe.schedule == "cosine":
        left = (1 + math.cos(math.pi * progress)) / 2
    elif recipe.schedule == "linear":
        left = 1 - progress
    else:
        raise unknown("schedule", recipe.schedule, WORDS["schedule"])
    decayed = recipe.lr * (recipe.final_lr_ratio + (1 - recipe.final_lr_ratio) * left)
    warm = min((step + 1) / warmup_steps, 1.0) if warmup_steps > 0 else 1.0
    first_bias_lr = recipe.warmup_bias_lr or 0.0
    first_momentum = recipe.momentum if recipe.warmup_momentum is None else recipe.warmup_momentum
    return Rates(
        decayed * warm,
        first_bias_lr + (decayed - first_bias_lr) * warm,
        first_momentum + (recipe.momentum - first_momentum) * warm,
    )


def set_rates(optimizer: torch.optim.Optimizer, now: Rates) -> None:
    """Set the rates of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = now.bias_lr if group.get("bias") else now.lr
        if "betas" in group:
            group["betas"] = (now.momentum, group["betas"][1])
        else:
            group["momentum"] = now.momentum


class MovingAverage:
    """Exponential moving average of every float tensor of a network's state dict; other tensors are copied.

    The decay of step t is `ema_decay * (1 - exp(-t / ema_ramp_steps))`: at first it averages over few steps.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps = 0
        self.current: StateDict = {key: value.detach() for key, value in network.state_dict().items()}
        self.state: StateDict = {key: value.clone() for key, value in self.current.items()}

    def update(self) -> None:
        """Add the network's weights after an optimiser step."""
        self.steps += 1
        decay = self.recipe.ema_decay * (1 - math.exp(-self.steps / self.recipe.ema_ramp_steps))
        floats = [key for key, value in self.current.items() if value.is_floating_point()]
        averages = [self.state[key] for key in floats]
        torch._foreach_lerp_(averages, [self.current[key] for key in floats], 1 - decay)
        for key, value in self.current.items():
            if not value.is_floating_point():
                self.state[key].copy_(value)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> float:
    """Scale all gradients to a joint norm of at most `limit` (0: no limit). Returns the norm before."""
    return float(torch.nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf))
