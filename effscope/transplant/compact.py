"""Closed form of compact inverted blocks: C2f, C3k2 or C3 with Bottlenecks -> C2fCIB.

A Bottleneck is conv1, conv2. In the CIB that replaces it, the first depthwise and pointwise stand for conv1, the second
ones for conv2. The first pointwise writes each hidden channel as often as conv2 has strong terms for it. Activations
that a Bottleneck does not have are set where they are nearly linear. The last depthwise passes its input through.
The closing convolution is fitted last; it also takes out a residual that the CIB adds and the Bottleneck did not.
"""

from __future__ import annotations

import torch
from torch import nn

from effscope.transplant.fits import Depthwise, fit_separable, refit
from effscope.transplant.passes import Pair
from effscope.transplant.units import REPEATABLE, WIDE_SHIFT, NoClosedForm, Unit


def compact(pair: Pair) -> float:
    """C2f or C3k2 -> C2fCIB. Returns the error of the closing convolution; raises NoClosedForm for other blocks."""
    _same_depth(pair)
    for n in range(inner_blocks(pair.new)):
        fit_cib(pair, f"m.{n}", f"m.{n}")
    return refit(pair, "cv2", "cv2")


def compact_c3(pair: Pair) -> float:
    """C3 -> C2fCIB. Returns the error of the closing convolution.

    The first half of C2fCIB's opening convolution is the branch of C3 without blocks, the second half the other branch.
    """
    opening, first, second = Unit(pair.new, "cv1"), Unit(pair.old, "cv2"), Unit(pair.old, "cv1")
    if first.conv.out_channels + second.conv.out_channels != opening.conv.out_channels:
        raise NoClosedForm("its halves are not as wide as those of the new stage")
    _same_depth(pair)
    opening.set_joined(first, second)
    for n in range(inner_blocks(pair.new)):
        fit_cib(pair, f"m.{n}", f"m.{n}")
    closing, old = Unit(pair.new, "cv2"), Unit(pair.old, "cv3")
    c = first.conv.out_channels
    kernel = torch.zeros(closing.conv.out_channels, closing.conv.in_channels, dtype=torch.float64)
    kernel[:, :c], kernel[:, -c:] = old.kernel[:, c:, 0], old.kernel[:, :c, 0]
    return refit(pair, "cv2", "cv3", prior=kernel)


def _same_depth(pair: Pair) -> None:
    if inner_blocks(pair.new) != inner_blocks(pair.old):
        raise NoClosedForm("it has another number of inner blocks than the new stage")


def inner_blocks(stage: nn.Module) -> int:
    """Number of inner blocks `m.0`, `m.1`, ... of a stage; 0 if it has none."""
    inner = dict(stage.named_children()).get("m")
    return 0 if inner is None else len(list(inner.children()))


def is_bottleneck(block: nn.Module) -> bool:
    """Whether an inner block is two convolution units in a row, without groups."""
    units = [Unit(block, name) for name in ("cv1", "cv2")]
    names = {name for name, _ in block.named_children()}
    return names - {"add"} == {"cv1", "cv2"} and all(unit.found and unit.conv.groups == 1 for unit in units)


def fit_cib(pair: Pair, new: str, old: str) -> None:
    """Fit one CIB to one Bottleneck.

    Raises:
        NoClosedForm: the old block is no Bottleneck, it has other outer channels, or it is wider inside than the CIB.
    """
    if not is_bottleneck(pair.old.get_submodule(old)):
        raise NoClosedForm("its inner blocks are not two convolutions in a row")
    units = [Unit(pair.new, f"{new}.cv1.{n}") for n in range(5)]
    first, second = Unit(pair.old, f"{old}.cv1"), Unit(pair.old, f"{old}.cv2")
    hidden, slots = first.conv.out_channels, units[1].conv.out_channels
    ends = first.conv.in_channels, second.conv.out_channels
    if ends != (units[0].conv.in_channels, units[3].conv.out_channels):
        raise NoClosedForm("its inner blocks have another width than those of the new stage")
    if hidden > slots:
        raise NoClosedForm("its inner blocks are wider than a CIB")
    copies = torch.arange(slots) % hidden
    fit_separable(pair, units[0].path, units[1].path, first.path, copies)
    spatial = Depthwise.at(pair.new, units[2].path)
    moments = spatial.moments(pair, second)
    k = len(moments.x) // slots
    channels, prior = spatial.set(second, moments.inputs(torch.arange(hidden * k)), slots)
    units[1].rearrange(channels)
    refit(pair, units[3].path, second.path, prior=prior)
    shift = 0.0 if isinstance(units[3].act, REPEATABLE) else WIDE_SHIFT
    with torch.no_grad():
        units[3].norm.bias.add_(shift)
    units[4].pass_through(shift)
