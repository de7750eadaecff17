"""Closed form of stages that become narrower or shallower: C2f, C3k2, C3, ELAN1; others only shallower."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn

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
        NoClosedForm: not exactly one of width and depth becomes smaller, or the inner blocks of a narrower stage are
            neither Bottlenecks nor C3s of Bottlenecks.
    """
    count, before = inner_blocks(pair.new), inner_blocks(pair.old)
    width, old_width = (Unit(part, "cv1").conv.out_channels for part in (pair.new, pair.old))
    if count == before and width < old_width:
        return _narrower(pair, count)
    if count < before and width == old_width:
        return _shallower(pair, count, before)
    raise NoClosedForm("only its width or only its depth may become smaller")


def elan(pair: Pair) -> float:
    """ELAN1 whose two 3x3 convolutions are narrower. Returns the error of the closing convolution."""
    old = Unit(pair.old, "cv4")
    first, second = (Unit(pair.old, name) for name in ("cv2", "cv3"))
    part, keep = first.conv.out_channels, Unit(pair.new, "cv2").conv.out_channels
    split = old.conv.in_channels - 2 * part
    sums = Regression()
    pair.gather((sums.add, (OldInput(old.at("conv")), Old(old.at("conv")))))
    pools = [(split + n * part + torch.arange(part)[:, None], keep) for n in (0, 1)]
    one, two = needed(sums.moments().scaled(old.gain), pools, DAMPING)
    Unit(pair.new, "cv2").set_rows(first, one)
    refit(pair, "cv3", "cv3", prior=second.kernel[two][:, one].flatten(1), rows=two)
    columns = torch.cat([torch.arange(split), split + one, split + part + two])
    return refit(pair, "cv4", "cv4", prior=old.kernel[:, columns, 0])


def _closing(pair: Pair, path: str = "") -> str:
    name = _below(path, "cv3")
    return name if Unit(pair.old, name).found else _below(path, "cv2")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


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
        opening = Unit(pair.old, "cv1").conv.out_channels
        c = (old.conv.in_channels - opening) // inner_blocks(pair.old)
        columns = torch.cat([torch.arange(opening), *(opening + k * c + torch.arange(c) for k in kept)])
    new.set_kernel(old.kernel[:, columns])


def _narrower(pair: Pair, count: int) -> float:
    """Keep the hidden channels that the closing convolution needs, and fit what reads them again."""
    inner = [_inner(pair.old, f"m.{n}") for n in range(count)]
    closing = _closing(pair)
    if closing == "cv3":
        return _narrow_c3(pair, "", None)
    c, keep = (Unit(part, "cv1").conv.out_channels // 2 for part in (pair.old, pair.new))
    every, old = torch.arange(c), Unit(pair.old, closing)
    if old.conv.in_channels != (2 + count) * c:
        raise NoClosedForm("its opening convolution is not split in two halves")
    chain = torch.stack([every + n * c for n in range(1, count + 2)], 1)
    split, branch = _needed(pair, closing, torch.arange(old.conv.out_channels), [(every[:, None], keep), (chain, keep)])
    Unit(pair.new, "cv1").set_rows(Unit(pair.old, "cv1"), torch.cat([split, c + branch]))
    for n, narrow in enumerate(inner):
        narrow(pair, f"m.{n}", branch)
    columns = torch.cat([split, *(branch + n * c for n in range(1, count + 2))])
    return refit(pair, closing, closing, prior=old.kernel[:, columns, 0])


Narrow = Callable[[Pair, str, Tensor], object]
"""Narrows an inner block at a path to some of its outer channels."""


def _inner(stage: nn.Module, path: str) -> Narrow:
    """How an inner block becomes narrower.

    Raises:
        NoClosedForm: it is neither a Bottleneck nor a C3 of Bottlenecks.
    """
    block = stage.get_submodule(path)
    if is_bottleneck(block):
        return _narrow_block
    nested = [block.get_submodule(f"m.{n}") for n in range(inner_blocks(block))]
    if nested and all(Unit(block, name).found for name in ("cv1", "cv2", "cv3")) and all(map(is_bottleneck, nested)):
        return _narrow_c3
    raise NoClosedForm("its inner blocks are neither two convolutions in a row nor C3s of them")


def _narrow_c3(pair: Pair, path: str, channels: Tensor | None) -> float:
    """Narrow a C3 of Bottlenecks inside, and outside to some channels (None: they stay). Returns its closing error."""
    names = {name: _below(path, name) for name in ("cv1", "cv2", "cv3", "m")}
    old, blocks = Unit(pair.old, names["cv3"]), inner_blocks(pair.old.get_submodule(path))
    rows = torch.arange(old.conv.out_channels) if channels is None else channels
    if not all(is_bottleneck(pair.old.get_submodule(f"{names['m']}.{n}")) for n in range(blocks)):
        raise NoClosedForm("its inner blocks are not two convolutions in a row")
    c, keep = (Unit(part, names["cv1"]).conv.out_channels for part in (pair.old, pair.new))
    every = torch.arange(c)
    split, branch = _needed(pair, names["cv3"], rows, [((c + every)[:, None], keep), (every[:, None], keep)])
    for name, kept in (("cv1", branch), ("cv2", split)):
        opening = Unit(pair.old, names[name])
        if channels is None:
            Unit(pair.new, names[name]).set_rows(opening, kept)
        else:
            refit(pair, names[name], names[name], prior=opening.kernel[kept][:, channels].flatten(1), rows=kept)
    for n in range(blocks):
        _narrow_block(pair, f"{names['m']}.{n}", branch)
    prior = old.kernel[rows][:, torch.cat([branch, c + split]), 0]
    return refit(pair, names["cv3"], names["cv3"], prior=prior, rows=rows)


def _needed(pair: Pair, closing: str, rows: Tensor, pools: list[tuple[Tensor, int]]) -> list[Tensor]:
    """The inputs of an old convolution that some of its outputs need most; pools as in `choose.needed`."""
    old, sums = Unit(pair.old, closing), Regression()
    pair.gather((sums.add, (OldInput(old.at("conv")), Old(old.at("conv")))))
    return needed(sums.moments().targets(rows).scaled(old.gain[rows]), pools, DAMPING)


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
