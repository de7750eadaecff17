"""A module lent for some forward passes and given back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from effscope.errors import EffscopeError

Hook = Callable[..., Any]


@contextmanager
def borrowed(module: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """The module in eval mode, without gradients, with forward hooks at some of its parts.

    Afterwards, whatever happened inside, its parts' modes, its buffers and the random state (of the processor and of
    the GPUs it is on) are what they were, and the hooks are gone.

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
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
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
            for buffer, before in buffers:
                buffer.copy_(before)
