"""A module lent for some forward passes and given back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from effscope.errors import EffscopeError

Hook = Callable[..., Any]


def _slots(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Where the parts of a module hold their tensors."""
    for part in module.modules():
        yield part._parameters
        yield part._buffers


class _Held:
    """A tensor in its slot, and what it was."""

    def __init__(self, slots: dict[str, Any], name: str, tensor: torch.Tensor | None) -> None:
        self.slots, self.name, self.tensor = slots, name, tensor
        self.before = None if tensor is None else tensor.detach().clone()
        self.version = self._version()

    def _version(self) -> int:
        """Counts in-place changes; tensors made for inference alone cannot be changed outside of it."""
        return -1 if self.tensor is None or self.tensor.is_inference() else self.tensor._version

    def put_back(self) -> None:
        self.slots[self.name] = self.tensor
        if self.tensor is not None and self.before is not None and self._version() != self.version:
            self.tensor.copy_(self.before)


@contextmanager
def borrowed(module: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """The module in eval mode, without gradients, with forward hooks at some of its parts.

    Afterwards, whatever happened inside, its parts' modes, its parameters and buffers (the same tensors with the same
    values) and the random state (of the processor and of the GPUs it is on) are what they were, and the hooks are gone.

    Args:
        module: any module.
        hooks: path of a part -> forward hook, called with (part, inputs, output).

    Raises:
        EffscopeError: a path is no module.
    """
    try:
        parts = [(module.get_submodule(path), hook) for path, hook in hooks.items()]
    except AttributeError as e:
        raise EffscopeError(f"a convolution is no module of its own, so its output cannot be watched: {e}") from None
    modes = [(part, part.training) for part in module.modules()]
    tensors = [_Held(slots, name, tensor) for slots in _slots(module) for name, tensor in list(slots.items())]
    devices = {p.device for p in (*module.parameters(), *module.buffers()) if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.no_grad():
        handles = [part.register_forward_hook(hook) for part, hook in parts]
        try:
            module.eval()
            yield
        finally:
            for handle in handles:
                handle.remove()
            for part, training in modes:
                part.training = training
            for held in tensors:
                held.put_back()
