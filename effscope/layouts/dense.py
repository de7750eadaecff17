"""Moves that make a stage narrower or shallower, or a downsampling convolution cheaper. Ultralytics builds all of them.

Widths stay multiples of `GRANULE`: kernels of runtimes work on such groups of channels, other widths are often slower.
"""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

from effscope.errors import EffscopeError
from effscope.layouts.blocks.stages import AREA_HEAD
from effscope.layouts.blocks.table import BLOCKS
from effscope.spec.layout import Layer, Scale

GRANULE = 8
"""Channels of a narrower part are a multiple of this, except where a block needs a larger one."""

WIDTH = {
    "C2f": "expansion", "C3": "expansion", "C3k2": "expansion", "A2C2f": "expansion", "RepNCSPELAN4": "c_part",
    "ELAN1": "c_part",
}  # fmt: skip
"""Block -> its argument for the hidden width: a share of the output channels, or a number of channels."""

FEWER = ("C2f", "C2fCIB", "C3", "C3k2", "A2C2f")
"""Blocks that work with any number of inner blocks, also with none."""

DOWNSAMPLING = (3, 2)
"""Kernel and stride of a downsampling convolution."""


def slim(layer: Layer, scale: Scale, share: float) -> Layer:
    """The stage with about `share` of its hidden width, rounded to a multiple of `GRANULE`.

    Raises:
        EffscopeError: the block has no hidden width, the width cannot become smaller, or YAML cannot express it.
    """
    name = WIDTH.get(layer.block)
    if name is None:
        raise EffscopeError(
            f"layer '{layer.id}' is a {layer.block}: only {', '.join(WIDTH)} stages have a hidden width"
        )
    known = _arguments(layer)
    c_out = scale.channels(layer.args[0])
    width = int(c_out * known[name]) if name == "expansion" else known[name]
    granule = AREA_HEAD if layer.block == "A2C2f" else GRANULE
    new = max(round(share * width / granule), 1) * granule
    if new >= width:
        raise EffscopeError(f"layer '{layer.id}' has {width} hidden channels: {share:g} of them is no narrower")
    if known.get("residual"):
        raise EffscopeError(f"layer '{layer.id}' has a scaled residual: YAML cannot express another width there")
    known[name] = _share(new, c_out) if name == "expansion" else new
    return replace(layer, args=tuple(known.values())[: max(len(layer.args), list(known).index(name) + 1)])


def _arguments(layer: Layer) -> dict[str, Any]:
    """Name -> value of all arguments, with the defaults of the block."""
    block = BLOCKS[layer.block]
    given = dict(zip(block.arguments, layer.args, strict=False))
    return {name: given.get(name, signature(block.emit).parameters[name].default) for name in block.arguments}


def _share(width: int, c_out: int) -> float:
    """A ratio for which int(c_out * ratio) is the width."""
    exact = width / c_out
    return exact if int(c_out * exact) == width else (width + 0.5) / c_out


def shallow(layer: Layer, scale: Scale) -> Layer:
    """The stage with one inner block less.

    Raises:
        EffscopeError: the block has no inner blocks, or no number of them can be one less.
    """
    if layer.block not in FEWER:
        raise EffscopeError(
            f"layer '{layer.id}' is a {layer.block}: only {', '.join(FEWER)} stages have inner blocks in series"
        )
    wanted = scale.repeats(layer.repeats) - 1
    fewer = next((n for n in range(layer.repeats - 1, -1, -1) if scale.repeats(n) == wanted), None)
    if fewer is None:
        raise EffscopeError(f"layer '{layer.id}' has no inner block that can go")
    return replace(layer, repeats=fewer)


def ghost(layer: Layer, _: Scale) -> Layer:
    """GhostConv: the convolution computes half of the channels, a depthwise convolution of them the other half.

    Raises:
        EffscopeError: not a 3x3 Conv of stride 2 without other arguments.
    """
    if layer.block not in ("Conv", "GhostConv") or layer.args[1:] != DOWNSAMPLING:
        raise EffscopeError(
            f"layer '{layer.id}' is a {layer.block} {list(layer.args)}: "
            "GhostConv can only replace a 3x3 Conv of stride 2"
        )
    return replace(layer, block="GhostConv")
