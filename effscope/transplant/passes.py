"""Run a part of a network and its replacement side by side on images, and give what flows inside to sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from effscope.nn.preserved import eval_mode, temporary_hooks
from effscope.transplant.record import Tensors


@dataclass(frozen=True)
class Old:
    """Tap: the output of a module of the old part."""

    path: str


@dataclass(frozen=True)
class New:
    """Tap: the input of a module of the new part."""

    path: str


@dataclass(frozen=True)
class OldInput:
    """Tap: the input of a module of the old part."""

    path: str


Tap = Old | New | OldInput
Sum = tuple[Callable[..., None], tuple[Tap, ...]]
"""A function, and the taps whose maps it is called with."""


@dataclass(frozen=True)
class Pair:
    """A part of a network, its replacement, and the inputs on which both are compared.

    Attributes:
        old, new: two layers, or two networks, on the same device. Who fits `new` changes its weights in place.
        given: batch by batch, the inputs of `old` and the inputs of `new` for the same images; it is read often.
    """

    old: nn.Module
    new: nn.Module
    given: Iterable[tuple[Tensors, Tensors]]

    def gather(self, *sums: Sum) -> None:
        """Run all inputs once, in eval mode, and call every sum with the maps at its taps, batch by batch.

        Always in float32: rounding to bfloat16 would be fitted too.
        """
        taps = {tap for _, wanted in sums for tap in wanted}
        needs_new = any(isinstance(tap, New) for tap in taps)
        needs_old = any(not isinstance(tap, New) for tap in taps)
        seen: dict[Tap, Tensor] = {}
        device = next(self.new.parameters()).device
        with torch.no_grad(), eval_mode(self.old), eval_mode(self.new), temporary_hooks(self._hooks(taps, seen)):
            for for_old, for_new in self.given:
                if needs_old:
                    self.old(*_moved(for_old, device))
                if needs_new:
                    self.new(*_moved(for_new, device))
                for add, wanted in sums:
                    add(*(seen[tap] for tap in wanted))

    def _hooks(self, taps: Iterable[Tap], seen: dict[Tap, Tensor]) -> Iterator[RemovableHandle]:
        for tap in taps:
            module = (self.new if isinstance(tap, New) else self.old).get_submodule(tap.path)
            keep = partial(_keep, seen, tap)
            yield module.register_forward_hook(keep)


def _keep(seen: dict[Tap, Tensor], tap: Tap, _: nn.Module, given: Any, output: Any) -> None:
    """A forward hook."""
    seen[tap] = output if isinstance(tap, Old) else given[0]


def _moved(tensors: Tensors, device: torch.device) -> Tensors:
    return tuple(tensor.to(device).float() for tensor in tensors)
