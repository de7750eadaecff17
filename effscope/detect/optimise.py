"""What one optimiser step needs: parameter groups, learning rate, moving average."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from effscope.config import Recipe
from effscope.errors import unknown

ADAM_BETA2 = 0.999

State = dict[str, Tensor]


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; biases and norms are not decayed, frozen tensors not touched."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, ADAM_BETA2))
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True)
    raise unknown("optimizer", recipe.optimizer, ("adamw", "sgd"))


def learning_rate(step: int, steps: int, warmup_steps: float, recipe: Recipe) -> float:
    """Learning rate of one optimiser step: a linear rise to the peak, then the decay to the last.

    Args:
        step: counted from 0.
        steps: of the whole training.
        warmup_steps: length of the rise.
        recipe: `lr`, `final_lr_ratio`, `schedule`.
    """
    progress = step / max(steps - 1, 1)
    if recipe.schedule == "cosine":
        left = (1 + math.cos(math.pi * progress)) / 2
    elif recipe.schedule == "linear":
        left = 1 - progress
    else:
        raise unknown("schedule", recipe.schedule, ("cosine", "linear"))
    decayed = recipe.lr * (recipe.final_lr_ratio + (1 - recipe.final_lr_ratio) * left)
    return decayed * min((step + 1) / warmup_steps, 1.0) if warmup_steps > 0 else decayed


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


class MovingAverage:
    """Exponential moving average of every float tensor of a network's state; other tensors are copied.

    The decay of step t is `ema_decay * (1 - exp(-t / ema_ramp_steps))`: short memory first, while weights move fast.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps = 0
        self.state: State = {key: value.detach().clone() for key, value in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        self.steps += 1
        decay = self.recipe.ema_decay * (1 - math.exp(-self.steps / self.recipe.ema_ramp_steps))
        current = {key: value.detach() for key, value in network.state_dict().items()}
        floats = [key for key, value in current.items() if value.is_floating_point()]
        averages = [self.state[key] for key in floats]
        torch._foreach_lerp_(averages, [current[key] for key in floats], 1 - decay)
        for key, value in current.items():
            if not value.is_floating_point():
                self.state[key] = value.clone()


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> None:
    """Scale all gradients so that their joint norm is at most `limit`; 0 leaves them."""
    if limit > 0:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
