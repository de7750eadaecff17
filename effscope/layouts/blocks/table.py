"""The table of blocks, by name in layouts and in Ultralytics' YAML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from effscope.layouts.blocks import attention, chain, classic, convs, ghost, heads, mobile, stages, yolox


@dataclass(frozen=True)
class Block:
    """How a layer of a layout becomes nodes.

    Attributes:
        emit: the block function. It takes an emitter, the input value (or a list of them) and the arguments.
        arguments: names of the nominal arguments in a layer, in order, without `n`.
        scaled: whether the first argument is a nominal number of channels.
        repeats: whether the block takes `n`, its number of inner blocks.
        many: whether it reads a list of inputs.
        stage: whether its layers are stages (C2f-like blocks).
        head: whether it is a detection head: it sets the views and is the last layer.
    """

    emit: Callable[..., Any]
    arguments: tuple[str, ...]
    scaled: bool = True
    repeats: bool = False
    many: bool = False
    stage: bool = False
    head: bool = False


_CSP = ("c_out", "shortcut", "groups", "expansion")

BLOCKS: dict[str, Block] = {
    "Conv": Block(convs.conv, ("c_out", "k", "s", "p", "groups", "d", "act")),
    "DWConv": Block(convs.dwconv, ("c_out", "k", "s", "d", "act")),
    "LightConv": Block(convs.light_conv, ("c_out", "k", "act")),
    "Focus": Block(convs.focus, ("c_out", "k", "s", "p", "groups", "act")),
    "GhostConv": Block(ghost.ghost_conv, ("c_out", "k", "s", "groups", "act")),
    "SCDown": Block(convs.scdown, ("c_out", "k", "s")),
    "AConv": Block(convs.aconv, ("c_out",)),
    "ADown": Block(convs.adown, ("c_out",)),
    "ConvTranspose": Block(convs.conv_transpose, ("c_out", "k", "s", "p")),
    "ConvTranspose2d": Block(convs.conv_transpose2d, ("c_out", "k", "s", "p")),
    "MaxPool2d": Block(convs.max_pool, ("k", "s", "p"), scaled=False),
    "ZeroPad2d": Block(convs.zero_pad, ("sides",), scaled=False),
    "Identity": Block(convs.identity, (), scaled=False),
    "Upsample": Block(convs.upsample, ("size", "scale", "mode"), scaled=False),
    "Concat": Block(convs.concat, ("dim",), scaled=False, many=True),
    "CBLinear": Block(convs.cb_linear, ("widths", "k", "s"), scaled=False),
    "CBFuse": Block(convs.cb_fuse, ("picks",), scaled=False, many=True),
    "Bottleneck": Block(stages.bottleneck_layer, ("c_out", "shortcut", "groups", "expansion")),
    "GhostBottleneck": Block(ghost.ghost_bottleneck, ("c_out", "k", "s")),
    "C1": Block(stages.c1, ("c_out",), repeats=True, stage=True),
    "C2": Block(stages.c2, _CSP, repeats=True, stage=True),
    "C2f": Block(stages.c2f, _CSP, repeats=True, stage=True),
    "C2fCIB": Block(stages.c2f_cib, ("c_out", "shortcut", "large_kernel"), repeats=True, stage=True),
    "C3": Block(stages.c3, _CSP, repeats=True, stage=True),
    "C3x": Block(stages.c3x, _CSP, repeats=True, stage=True),
    "C3Ghost": Block(stages.c3_ghost, _CSP, repeats=True, stage=True),
    "C3k2": Block(
        stages.c3k2, ("c_out", "c3k", "expansion", "attention", "groups", "shortcut"), repeats=True, stage=True
    ),
    "A2C2f": Block(
        stages.a2c2f,
        ("c_out", "attention", "area", "residual", "mlp_ratio", "expansion", "groups", "shortcut"),
        repeats=True,
        stage=True,
    ),
    "RepC3": Block(stages.rep_c3, ("c_out", "expansion"), repeats=True, stage=True),
    "RepNCSPELAN4": Block(stages.rep_ncspelan4, ("c_out", "c_split", "c_part", "depth"), stage=True),
    "ELAN1": Block(stages.elan1, ("c_out", "c_split", "c_part"), stage=True),
    "HGStem": Block(classic.hg_stem, ("c_mid", "c_out"), scaled=False),
    "HGBlock": Block(
        classic.hg_block, ("c_mid", "c_out", "k", "light", "shortcut"), scaled=False, repeats=True, stage=True
    ),
    "ResNetLayer": Block(
        classic.resnet_layer, ("c_in", "c_mid", "s", "first", "depth", "ratio"), scaled=False, stage=True
    ),
    "SPP": Block(convs.spp, ("c_out", "kernels")),
    "SPPF": Block(convs.sppf, ("c_out", "k", "n_pools", "shortcut")),
    "SPPELAN": Block(convs.sppelan, ("c_out", "c_hidden", "k")),
    "PSA": Block(attention.psa, ("c_out", "expansion")),
    "C2PSA": Block(attention.c2psa, ("c_out", "expansion"), repeats=True),
    "C2fPSA": Block(stages.c2f_psa, ("c_out", "expansion"), repeats=True),
    "AIFI": Block(attention.aifi, ("c_hidden", "heads"), scaled=False),
    "SE": Block(mobile.squeeze_excite, ("ratio", "act"), scaled=False),
    "MixConv": Block(mobile.mix_conv, ("kernels", "s", "act"), scaled=False),
    "LinearBottleneck": Block(mobile.linear_bottleneck, ("c_out", "k", "s", "squeeze", "act")),
    "InvertedResidual": Block(mobile.inverted_residual, ("c_out", "k", "s", "expansion", "squeeze", "act")),
    "MBStage": Block(
        mobile.mb_stage, ("expansion", "k", "s", "c_out", "depth", "squeeze", "act"), scaled=False, stage=True
    ),
    "SpatialConv": Block(yolox.spatial, ("c_out", "kernels", "s", "form")),
    "CSPLayer": Block(yolox.csp_layer, ("c_out", "shortcut", "kernels", "form"), repeats=True, stage=True),
    "YOLOXHead": Block(yolox.yolox_head, ("nc", "kernels", "form"), scaled=False, many=True, head=True),
    "Chain": Block(chain.chain, ("links", "residual"), scaled=False),
    "ChainDetect": Block(heads.chain_detect, ("nc", "towers", "reg_max"), scaled=False, many=True, head=True),
    "AnchorDetect": Block(heads.anchor_detect, ("nc", "anchors"), scaled=False, many=True, head=True),
    "RTDETRDecoder": Block(heads.rtdetr_decoder, ("nc",), scaled=False, many=True, head=True),
    "Detect": Block(heads.detect, ("nc", "class_tower", "pairing", "reg_max"), scaled=False, many=True, head=True),
}
"""Name -> Block. A new line here adds cost, formula, torch module and tests of the block."""
