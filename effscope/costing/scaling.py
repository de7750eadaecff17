"""Compound scaling: depth, width and resolution grow together (EfficientNet, arXiv 1905.11946)."""

from __future__ import annotations

from dataclasses import replace

from effscope.config import IMGSZ_MULTIPLE, ScaleConfig
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.results import ScaleResult, ScaleRow, origin
from effscope.spec.layout import Layout

MAX_PHI = 20


def phis(text: str) -> tuple[int, ...]:
    """Exponents from a string like "1..3", "2" or "0,1,4". Raises EffscopeError for any other string."""
    try:
        first, dots, last = text.partition("..")
        found = tuple(range(int(first), int(last) + 1)) if dots else tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= phi <= MAX_PHI for phi in found):
        raise EffscopeError(f"`phi` '{text}': give exponents from 0 to {MAX_PHI}, e.g. 1..3 or 0,2")
    return found


def scaled(layout: Layout, config: ScaleConfig, phi: int) -> tuple[Layout, int]:
    """The layout with depth and width multiplied by factor ** phi, and its image side in px: a multiple of 32, or of
    the largest stride of its head.

    Repeats and channels are rounded by the rule of the family. A cap on channels grows with the width.
    Source: EfficientNet (arXiv 1905.11946, section 3.3).
    """
    scale = layout.scale
    grown = replace(scale, depth=scale.depth * config.depth**phi, width=scale.width * config.width**phi)
    step = max(IMGSZ_MULTIPLE, *expand(layout).info.get("strides", ()))
    side = step * max(round(config.imgsz * config.resolution**phi / step), 1)
    return replace(layout, scale=grown), side


def scaling(layout: Layout, config: ScaleConfig) -> ScaleResult:
    """Cost at each exponent, with FLOPs / FLOPs of the base, and the same ratio by the scaling law.

    Raises:
        EffscopeError: a factor below 1, exponents out of range, or a layout with fixed channels.
    """
    for name in ("depth", "width", "resolution"):
        if not getattr(config, name) >= 1:
            raise EffscopeError(f"`{name}` must be a factor of at least 1, got {getattr(config, name)}")
    exponents = phis(config.phi)
    if layout.scale.multiple == 1:
        raise EffscopeError(
            f"{layout.name} was read from weights, so its channels are fixed: give a zoo name or a layout YAML"
        )
    base = cost(layout, config.imgsz)
    law = config.depth * config.width**2 * config.resolution**2
    rows = []
    for phi in exponents:
        grown, side = scaled(layout, config, phi)
        found = cost(grown, side)
        rows.append(
            ScaleRow(
                phi, grown.scale.depth, grown.scale.width, side, found.params, found.macs, found.flops,
                found.conv_flops, found.flops / base.flops, law**phi,
            )
        )  # fmt: skip
    return ScaleResult(layout.name, config.imgsz, law, tuple(rows), origin(config, layout.digest()))
