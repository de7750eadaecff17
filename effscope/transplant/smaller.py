"""Closed form of dense stages that become narrower or shallower: C2f, C3k2, C3 with Bottlenecks."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from effscope.transplant.choose import needed
from effscope.transplant.compact import inner_blocks, is_bottleneck
from effscope.transplant.fits import DAMPING, refit, window_of
from effscope.transplant.passes import Old, OldInput, Pair
from effscope.transplant.sums import Regression
from effscope.transplant.units import NoClosedForm, Unit


def smaller(pair: Pair) -> float:
    """A stage of the same block with a smaller hidden width, or with fewer inner blocks.

    Returns:
        Error of the closing convolution: squared error / variance of its old responses.

    Raises:
        NoClosedForm: its inner blocks are no Bottlenecks, or not exactly one of width and depth becomes smaller.
    """
    count, before = inner_blocks(pair.new), inner_blocks(pair.old)
    blocks = [pair.old.get_submodule(f"m.{n}") for n in range(before)]
    if not all(is_bottleneck(block) for block in blocks):
        raise NoClosedForm("its inner blocks are not two convolutions in a row")
    width, old_width = (Unit(part, "cv1").conv.out_channels for part in (pair.new, pair.old))
    if count == before and width < old_width:
        return _narrower(pair, count)
    if count < before and width == old_width:
        return _shallower(pair, count, before)
    raise NoClosedForm("only its width or only its depth may become smaller")


def _closing(pair: Pair) -> str:
    return "cv3" if Unit(pair.old, "cv3").found else "cv2"


def _shallower(pair: Pair, count: int, before: int) -> float:
    """Keep the blocks without which the closing convolution, fitted again, loses most."""
    closing, errors = _closing(pair), {}
    for kept in combinations(range(before), count):
        _take(pair, kept)
        errors[kept] = refit(pair, closing, closing)
    _take(pair, min(errors, key=errors.__getitem__))
    return refit(pair, closing, closing)


def _take(pair: Pair, kept: tuple[int, ...]) -> None:
    """Copy some inner blocks, and the closing convolution's weights for them."""
    for to, of in enumerate(kept):
        pair.new.get_submodule(f"m.{to}").load_state_dict(pair.old.get_submodule(f"m.{of}").state_dict())
    new, old = Unit(pair.new, _closing(pair)), Unit(pair.old, _closing(pair))
    columns = torch.arange(old.conv.in_channels)
    if new.conv.in_channels != old.conv.in_channels:
        c = Unit(pair.old, "cv1").conv.out_channels // 2
        columns = torch.cat([torch.arange(n * c, n * c + c) for n in (0, 1, *(2 + k for k in kept))])
    new.set_kernel(old.kernel[:, columns])


def _narrower(pair: Pair, count: int) -> float:
    """Keep the hidden channels that the closing convolution needs, and fit what reads them again."""
    closing = _closing(pair)
    split, branch = _needed_channels(pair, closing, count)
    if closing == "cv3":
        Unit(pair.new, "cv1").set_rows(Unit(pair.old, "cv1"), branch)
        Unit(pair.new, "cv2").set_rows(Unit(pair.old, "cv2"), split)
    else:
        Unit(pair.new, "cv1").set_rows(Unit(pair.old, "cv1"), torch.cat([split, _width(pair) + branch]))
    for n in range(count):
        _narrow_block(pair, f"m.{n}", branch)
    columns = _closing_columns(pair, closing, count, split, branch)
    return refit(pair, closing, closing, prior=Unit(pair.old, closing).kernel[:, columns, 0])


def _width(pair: Pair) -> int:
    """Hidden width of the old stage."""
    return Unit(pair.old, "m.0.cv1").conv.in_channels


def _needed_channels(pair: Pair, closing: str, count: int) -> tuple[Tensor, Tensor]:
    """The kept channels of the half without blocks, and of the half with blocks."""
    c, keep, every = _width(pair), Unit(pair.new, "m.0.cv1").conv.in_channels, torch.arange(_width(pair))
    old = Unit(pair.old, closing)
    sums = Regression()
    pair.gather((sums.add, (OldInput(old.at("conv")), Old(old.at("conv")))))
    if closing == "cv3":
        pools = [((c + every)[:, None], keep), (every[:, None], keep)]
    else:
        chain = torch.stack([every + n * c for n in range(1, count + 2)], 1)
        pools = [(every[:, None], keep), (chain, keep)]
    split, branch = needed(sums.moments().scaled(old.gain), pools, DAMPING)
    return split, branch


def _closing_columns(pair: Pair, closing: str, count: int, split: Tensor, branch: Tensor) -> Tensor:
    """The inputs of the old closing convolution that the new one still has, in its order."""
    c = _width(pair)
    if closing == "cv3":
        return torch.cat([branch, c + split])
    return torch.cat([split, *(branch + n * c for n in range(1, count + 2))])


def _narrow_block(pair: Pair, path: str, channels: Tensor) -> None:
    """Narrow a Bottleneck to some outer channels, and to the hidden channels that its second convolution needs."""
    first, second = Unit(pair.old, f"{path}.cv1"), Unit(pair.old, f"{path}.cv2")
    hidden, k = first.conv.out_channels, second.kernel.shape[2]
    sums = Regression(window_of([second.conv]))
    pair.gather((sums.add, (OldInput(second.at("conv")), Old(second.at("conv")))))
    groups = torch.arange(hidden * k).view(hidden, k)
    moments = sums.moments().targets(channels).scaled(second.gain[channels])
    (kept,) = needed(moments, [(groups, Unit(pair.new, first.path).conv.out_channels)], DAMPING)
    refit(pair, first.path, first.path, prior=first.kernel[kept][:, channels].flatten(1), rows=kept)
    refit(pair, second.path, second.path, prior=second.kernel[channels][:, kept].flatten(1), rows=channels)
