"""What a module is traced with: an image, or the user's own inputs; and lazy modules, which need one pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from effscope.config.image_size import ImageSize, image_shape
from effscope.errors import EffscopeError, first_line
from effscope.nn.preserved import eval_mode

IMAGE_DIMS = 4


@dataclass(frozen=True)
class Inputs:
    """Arguments of a module's forward.

    Attributes:
        args: positional ones.
        kwargs: ones by name.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leaves(self) -> list[Any]:
        """The tensors and numbers in the arguments, in the order of torch.export."""
        return list(tree_leaves((self.args, dict(self.kwargs))))

    @property
    def image(self) -> int:
        """Position of the image in `leaves`: the first float tensor with four dimensions, else the first tensor.

        Raises:
            EffscopeError: there is no tensor.
        """
        tensors = [n for n, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor) and leaf.dim()]
        images = [n for n in tensors if self.leaves[n].is_floating_point() and self.leaves[n].dim() == IMAGE_DIMS]
        if not tensors:
            raise EffscopeError(
                "`inputs` hold no tensor with a shape: give a tensor, several in a tuple, or a dict by name"
            )
        return (images or tensors)[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return tuple(int(n) for n in self.leaves[self.image].shape)


def given_inputs(inputs: Any) -> Inputs:
    """The user's `inputs` as arguments: a tensor, a tuple or list of arguments, or a dict of arguments by name.

    Raises:
        EffscopeError: there is no tensor among them.
    """
    if isinstance(inputs, Mapping):
        found = Inputs(kwargs={str(name): value for name, value in inputs.items()})
    else:
        found = Inputs(tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,))
    _ = found.image
    return found


@dataclass(frozen=True)
class Asked:
    """What a module is traced with.

    Attributes:
        inputs: its arguments.
        size: size of the input for titles: () if the arguments are no single image.
        shape: shape of the image.
        given: the arguments, if the user gave them; else None.
    """

    inputs: Inputs
    size: ImageSize
    shape: tuple[int, ...]
    given: Inputs | None = None


def asked_inputs(module: nn.Module, size: ImageSize, inputs: Any = None) -> Asked:
    """The arguments for a module: the user's `inputs`, or one image of zeros of a size.

    Raises:
        EffscopeError: the user's inputs hold no tensor.
    """
    if inputs is not None:
        given = given_inputs(inputs)
        is_image = len(given.leaves) == 1 and len(given.shape) == IMAGE_DIMS
        return Asked(given, given.shape if is_image else (), given.shape, given)
    shape = image_shape(size)
    return Asked(image_inputs(module, shape), size, shape)


def image_inputs(module: nn.Module, shape: tuple[int, ...], *, random: bool = False) -> Inputs:
    """One image for a module, on its device and in its dtype: zeros, or random values within 0-1 (always the same)."""
    parameters = (p for p in module.parameters() if not is_lazy(p))
    first = next(parameters, torch.zeros(()))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    try:
        values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if random else torch.zeros(shape)
    except (RuntimeError, TypeError) as e:  # more values than torch can number, or than memory holds
        raise EffscopeError(f"an input of {'x'.join(map(str, shape))} is too large: give a smaller `imgsz`") from e
    return Inputs((values.to(first.device, dtype),))


def is_lazy_module(module: nn.Module) -> bool:
    """Whether a parameter or buffer gets its shape only in the first forward pass."""
    return any(is_lazy(value) for value in (*module.parameters(), *module.buffers()))


def materialised(module: nn.Module, inputs: Inputs, name: str) -> nn.Module:
    """A copy of a lazy module after one forward pass. Its lazy parameters get random values.

    Raises:
        EffscopeError: it cannot be copied or run.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        try:
            copied = copy.deepcopy(module)
            with eval_mode(copied):
                copied(*inputs.args, **inputs.kwargs)
        except Exception as e:  # the module's code may raise anything
            raise EffscopeError(f"{name} has lazy layers, and its first pass fails: {first_line(e)}") from e
    return copied
