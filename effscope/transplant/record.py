"""Record inputs and outputs of one layer of a network for images, to fit a replacement of this layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from effscope.nn.build import Network
from effscope.nn.precision import amp
from effscope.nn.preserved import preserved

Tensors = tuple[Tensor, ...]

HELD_OF = 16
"""Two of this many images are held back."""


@dataclass(frozen=True)
class Pairs:
    """Inputs and outputs of a layer, on the CPU: one tensor (images, ...) per input and per output."""

    inputs: Tensors
    outputs: Tensors

    def __len__(self) -> int:
        return len(self.inputs[0])

    def some(self, images: slice | Tensor) -> Pairs:
        """The pairs of some images."""
        inputs, outputs = (tuple(tensor[images] for tensor in side) for side in (self.inputs, self.outputs))
        return Pairs(inputs, outputs)

    def divided(self) -> tuple[Pairs, Pairs]:
        """Pairs to learn from, and pairs held back: two neighbours (an image and its mirror image) of every 16.

        With less than 16 images nothing can be held back: both are all pairs.
        """
        if len(self) < HELD_OF:
            return self, self
        held = torch.arange(len(self)) % HELD_OF >= HELD_OF - 2
        return self.some(~held), self.some(held)


def record(network: Network, position: int, batches: Iterable[Tensor], max_bytes: int) -> Pairs:
    """Run a network on images and record the inputs and outputs of one layer.

    The network runs in eval mode, in bfloat16 if the device gains from it. It is restored, also if the forward pass
    raises.

    Args:
        network: a network on its device.
        position: position of the layer, as in the state-dict keys `model.<position>.`.
        batches: images (B, 3, H, W), float 0-1.
        max_bytes: stop after the batch in which the recorded tensors reach this size.

    Returns:
        bfloat16 tensors on the CPU, one row per image, in the order of the images.
    """
    kept: list[tuple[Tensors, Tensors]] = []

    def keep(_: nn.Module, given: Tensors, out: Tensors | Tensor) -> None:
        outputs = out if isinstance(out, tuple) else (out,)
        kept.append((tuple(map(_stored, given)), tuple(map(_stored, outputs))))

    device = next(network.parameters()).device
    used = 0
    with preserved(network, {f"model.{position}": keep}):
        for images in batches:
            with amp(device):
                network(images.to(device))
            used += sum(tensor.nbytes for side in kept[-1] for tensor in side)
            if used >= max_bytes:
                break
    inputs, outputs = (_joined([pair[side] for pair in kept]) for side in (0, 1))
    return Pairs(inputs, outputs)


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.bfloat16)


def _joined(batches: list[Tensors]) -> Tensors:
    return tuple(torch.cat(tensors) for tensors in zip(*batches, strict=True))
