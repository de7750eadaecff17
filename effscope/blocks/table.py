"""Every block by the name layouts and Ultralytics' YAML use for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from effscope.blocks import attention, chain, convs, heads, stages


@dataclass(frozen=True)
class Block:
    """How a layout line becomes nodes.

    Attributes:
        emit: the block function: emitter, input value (or the list of them), arguments.
        arguments: names of the nominal arguments a layout gives, in order, without `n`.
        scaled: the first argument is a nominal channel count.
        repeats: the block takes `n`, its number of inner blocks.
        many: it reads a list of inputs.
        stage: a C2f-like block: the k-th of them in forward order is stage k.
        head: a detection head: it sets the views, nothing stands behind it.
    """

    emit: Callable[..., Any]
    arguments: tuple[str, ...]
    scaled: bool = True
    repeats: bool = False
    many: bool = False
    stage: bool = False
    head: bool = False


BLOCKS: dict[str, Block] = {
    "Conv": Block(convs.conv, ("c_out", "k", "s")),
    "SCDown": Block(convs.scdown, ("c_out", "k", "s")),
    "Upsample": Block(convs.upsample, ("size", "scale", "mode"), scaled=False),
    "Concat": Block(convs.concat, ("dim",), scaled=False, many=True),
    "C2f": Block(stages.c2f, ("c_out", "shortcut"), repeats=True, stage=True),
    "C2fCIB": Block(stages.c2f_cib, ("c_out", "shortcut", "large_kernel"), repeats=True, stage=True),
    "SPPF": Block(stages.sppf, ("c_out", "k")),
    "PSA": Block(attention.psa, ("c_out", "expansion")),
    "Chain": Block(chain.chain, ("links", "residual"), scaled=False),
    "ChainDetect": Block(heads.chain_detect, ("nc", "towers", "reg_max"), scaled=False, many=True, head=True),
    "AnchorDetect": Block(heads.anchor_detect, ("nc", "anchors"), scaled=False, many=True, head=True),
    "Detect": Block(heads.detect, ("nc", "class_tower", "pairing", "reg_max"), scaled=False, many=True, head=True),
}
"""Block name -> Block. Adding a line here gives the block its cost, formula, torch module and tests."""
