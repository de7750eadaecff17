"""Modules with multiply-adds derived by hand.

Every number comes from the formula in its case, never from a tool.

Conventions (dense, batch 1, eval mode, forward only; biases are additions and never counted):

* convolution: C_in / groups * C_out * kernel * output positions; padded taps count like any other;
* transposed convolution: C_in * C_out / groups * kernel * *input* positions;
* deformable convolution: as an ordinary convolution; the bilinear sampling and the modulation mask are not MACs;
* matrix product: m * k * n, times the broadcast batch; attention: QK^T and AV in full, causal or masked or not;
* LSTM / GRU / RNN: the products of all gates, over all steps, layers and directions;
* einsum: the product of the index lengths of each pairwise contraction;
* interpolation (grid_sample included), pooling, normalisation, activations, look-ups, elementwise operations,
  sums, comparisons (sort, topk, nms): 0, and this 0 is a *known* count;
* ``macs=None``: no agreed number of MACs (FFT, solvers, decompositions, cdist, code that a counter cannot see into):
  a counter must report that it does not count this; 0 is wrong.  ``countable_macs`` are the MACs of the rest.

``alternatives`` lists totals of other valid readings of these rules; ``note`` says which readings.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A module, the shape of its input, and its multiply-adds derived by hand."""

    name: str
    make: Callable[[], nn.Module]
    input_shape: Shape
    macs: int | None
    conv_macs: int
    derivation: str
    countable_macs: int
    alternatives: tuple[int, ...] = ()
    note: str = ""


def evaluate(expression: str) -> int:
    """The value of an integer formula with +, * and //, such as ``"3*8*9*13*17"``; 0 for an empty one."""

    def value(node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(number)):
                return number
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return value(left) * value(right)
            case ast.BinOp(left=left, op=ast.FloorDiv(), right=right):
                quotient, remainder = divmod(value(left), value(right))
                if remainder:
                    raise ValueError(f"not a whole quotient in {expression!r}")
                return quotient
        raise ValueError(f"not a formula: {expression!r}")

    return value(ast.parse(expression, mode="eval").body) if expression else 0


def case(
    name: str,
    make: Callable[[], nn.Module],
    size: tuple[int, int],
    *,
    conv: str = "",
    other: str = "",
    why: str,
    alternatives: tuple[str, ...] = (),
    note: str = "",
    countable: bool = True,
) -> Case:
    """A case, from the formula of its convolutions and the formula of its other products."""
    conv_macs = evaluate(conv)
    total = conv_macs + evaluate(other)
    parts = [f"conv {conv}"] * bool(conv) + [f"products {other}"] * bool(other)
    formula = " + ".join(parts) if parts else "0"
    return Case(
        name=name,
        make=make,
        input_shape=(1, 3, *size),
        macs=total if countable else None,
        conv_macs=conv_macs,
        derivation=f"{formula} = {total}: {why}"
        if countable
        else f"{formula} = {total} and an uncountable part: {why}",
        countable_macs=total,
        alternatives=tuple(evaluate(alternative) for alternative in alternatives),
        note=note,
    )


class Net(nn.Module):
    """A module with the given submodules; its forward is a function of the module and its input."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self._function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


def par(*shape: int) -> nn.Parameter:
    """A small random parameter."""
    return nn.Parameter(torch.randn(*shape) * 0.1)


def wide(x: Tensor, channels: int) -> Tensor:
    """``x`` with its channels repeated to ``channels``; no arithmetic."""
    return x.repeat(1, -(-channels // x.shape[1]), 1, 1)[:, :channels]


def tokens(x: Tensor, channels: int) -> Tensor:
    """``x`` as (1, H*W, channels) tokens; no arithmetic."""
    return wide(x, channels).flatten(2).transpose(1, 2)


def heads(x: Tensor, count: int, width: int) -> Tensor:
    """``x`` as (1, count, H*W, width) attention heads; no arithmetic."""
    return tokens(x, count * width).unflatten(2, (count, width)).transpose(1, 2)
