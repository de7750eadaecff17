"""Run a module with hooks, and restore its modes, tensors and the random state afterwards.

Each context manager restores one thing, also when the code inside it raises; `preserved` restores everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from effscope.errors import EffscopeError

Hook = Callable[..., Any]


@contextmanager
def attributes_kept(objects: Iterable[object], *names: str) -> Iterator[None]:
    """Restore these attributes of the objects afterwards."""
    before = [(thing, name, getattr(thing, name)) for thing in objects for name in names]
    try:
        yield
    finally:
        for thing, name, value in before:
            setattr(thing, name, value)


def modes_kept(module: nn.Module) -> AbstractContextManager[None]:
    """Restore the training or eval mode of every submodule afterwards."""
    return attributes_kept(module.modules(), "training")


def requires_grad_kept(module: nn.Module) -> AbstractContextManager[None]:
    """Restore `requires_grad` of every parameter afterwards."""
    return attributes_kept(module.parameters(), "requires_grad")


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put the module in eval mode; restore the mode of every submodule afterwards."""
    with modes_kept(module):
        module.eval()
        yield


@contextmanager
def temporary_hooks(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end: `with temporary_hooks([layer.register_forward_hook(hook)]): ...`"""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


class _SavedTensor:
    """A parameter or buffer of a module, with a copy of its values."""

    def __init__(self, slots: dict[str, Any], name: str) -> None:
        self.slots, self.name, self.tensor = slots, name, slots[name]
        self.values = None if self.tensor is None else self.tensor.detach().clone()
        self.version = self._version()

    def _version(self) -> int:
        """Number of in-place changes. Inference tensors have none: only inference mode can change them."""
        return -1 if self.tensor is None or self.tensor.is_inference() else self.tensor._version

    def restore(self) -> None:
        self.slots[self.name] = self.tensor
        if self.values is not None and self._version() != self.version:
            self.tensor.copy_(self.values)


@contextmanager
def tensors_kept(module: nn.Module) -> Iterator[None]:
    """Restore the parameters and buffers of the module and their values afterwards."""
    slots = [slots for part in module.modules() for slots in (part._parameters, part._buffers)]
    saved = [_SavedTensor(held, name) for held in slots for name in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor in saved:
                tensor.restore()


@contextmanager
def random_state_kept(module: nn.Module) -> Iterator[None]:
    """Restore the random state of the CPU, and of the GPUs of the module, afterwards."""
    devices = {t.device for t in (*module.parameters(), *module.buffers()) if t.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        yield


@contextmanager
def preserved(module: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Run code with the module in eval mode, without gradients, with forward hooks on some submodules.

    Afterwards the hooks are removed, and modes, parameters, buffers and the random state are restored.

    Args:
        module: any module.
        hooks: path of a submodule -> forward hook, called with (submodule, inputs, output).

    Raises:
        EffscopeError: the module has no submodule at a path.
    """
    try:
        hooked = [(module.get_submodule(path), hook) for path, hook in hooks.items()]
    except AttributeError as e:
        raise EffscopeError(f"cannot record the output of a convolution that is not a module: {e}") from None
    with (
        tensors_kept(module),
        random_state_kept(module),
        torch.no_grad(),
        eval_mode(module),
        temporary_hooks(part.register_forward_hook(hook) for part, hook in hooked),
    ):
        yield
