"""The processes that train together. A single process needs only torch; `accelerate launch` starts several."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from effscope.errors import EffscopeError
from effscope.nn.precision import pick_device
from effscope.progress import together

PATIENCE = timedelta(hours=12)
"""Timeout of the other processes while the first one scores and writes."""


@dataclass(frozen=True)
class Processes:
    """This process and the processes that train with it.

    Attributes:
        rank: number of this process, from 0; the first one reads and writes files and prints.
        count: number of processes.
        device: device of this process.
        state: Accelerate's state if there are several processes, else None.
    """

    rank: int
    count: int
    device: torch.device
    state: Any = None

    def share(self, n: int) -> slice:
        """This process's part of a batch of n images; the whole batch if there are fewer images than processes."""
        if n < self.count:
            return slice(None)
        return slice(self.rank * n // self.count, (self.rank + 1) * n // self.count)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        if self.count == 1:
            return tensor
        total = tensor.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(tensor.device)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace the gradients of every process by their sum."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if self.count == 1 or not gradients:
            return
        flat = self.summed(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def wait(self) -> None:
        """Wait until all processes have reached this point."""
        if self.state is not None:
            self.state.wait_for_everyone()


def processes(device: str) -> Processes:
    """This process and those that were started with it.

    Args:
        device: as in `pick_device`. With several processes `auto` and `cuda` assign one GPU to each process.

    Raises:
        EffscopeError: several processes without Accelerate, or with a GPU given by number.
    """
    if together() <= 1:
        return Processes(0, 1, pick_device(device))
    try:
        from accelerate import PartialState  # noqa: PLC0415
    except ImportError:
        raise EffscopeError('several processes need Accelerate: pip install "effscope[distributed]"') from None
    if device not in ("auto", "cpu", "cuda"):
        raise EffscopeError(f"`device` {device} with several processes: give auto, cpu or cuda; each gets its own")
    try:
        state = PartialState(cpu=device == "cpu" or not torch.cuda.is_available(), timeout=PATIENCE)
    except ValueError as error:  # WORLD_SIZE without the other variables of a launcher
        raise EffscopeError(
            f"WORLD_SIZE is {together()}, but the processes cannot connect ({error}): start them with accelerate "
            "launch or torchrun, or unset WORLD_SIZE"
        ) from None
    return Processes(state.process_index, state.num_processes, state.device, state)


class _Sum(torch.autograd.Function):
    """The sum over all processes. Its gradient is the sum of their gradients."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(_, gradient)


class _SyncBatchNorm(nn.BatchNorm2d):
    """A batch norm with statistics of the whole batch, over all processes. `torch.nn.SyncBatchNorm` needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        n = torch.full((1,), float(x.numel() / x.shape[1]), device=x.device)
        local = torch.cat((n, values.sum((0, 2, 3)), values.square().sum((0, 2, 3))))
        whole: Tensor = _Sum.apply(local)
        n, total, squares = torch.split(whole, [1, x.shape[1], x.shape[1]])
        mean = total / n
        variance = (squares / n - mean.square()).clamp(min=0)
        if self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = self.momentum or 0.0
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * (n / (n - 1)), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked += 1
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return ((values - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)).to(x.dtype)
        scale = scale * self.weight
        return (values * scale.view(-1, 1, 1) + (self.bias - mean * scale).view(-1, 1, 1)).to(x.dtype)


def sync_batch_norms(network: nn.Module, group: Processes) -> None:
    """Make batch norms of a network use statistics over all processes, in place. No effect with a single process."""
    if group.count == 1:
        return
    kind = _SyncBatchNorm if group.device.type == "cpu" else nn.SyncBatchNorm
    for name, norm in list(network.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            synced = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
            synced.load_state_dict(norm.state_dict())
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, synced.to(group.device).train(norm.training))
