"""Compound scaling: depth, width and resolution grown together, and what that costs."""

from __future__ import annotations

from dataclasses import replace

from effscope.config import IMGSZ_MULTIPLE, ScaleConfig
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.results import ScaleResult, ScaleRow, origin
from effscope.spec.layout import Layout

MOST_PHI = 20


def phis(text: str) -> tuple[int, ...]:
    """Exponents from `1..3`, `2` or `0,1,4`. Raises EffscopeError for anything else."""
    try:
        first, dots, last = text.partition("..")
        found = tuple(range(int(first), int(last) + 1)) if dots else tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(0 <= phi <= MOST_PHI for phi in found):
        raise EffscopeError(f"--phi '{text}': give exponents from 0 to {MOST_PHI}, e.g. 1..3 or 0,2")
    return found


def scaled(layout: Layout, config: ScaleConfig, phi: int) -> tuple[Layout, int]:
    """The layout with depth and width grown phi times, and the image side that goes with it, a multiple of 32.

    Repeats and channels are rounded as the family rounds them; channels a family caps grow with their cap.
    Source: EfficientNet (arXiv 1905.11946, section 3.3).
    """
    scale = layout.scale
    grown = replace(scale, depth=scale.depth * config.depth**phi, width=scale.width * config.width**phi)
    side = IMGSZ_MULTIPLE * max(round(config.imgsz * config.resolution**phi / IMGSZ_MULTIPLE), 1)
    return replace(layout, scale=grown), side


def scaling(layout: Layout, config: ScaleConfig) -> ScaleResult:
    """Cost at each exponent, beside the base and beside what the law promises.

    Raises:
        EffscopeError: coefficients below 1, exponents that cannot be, channels that are fixed.
    """
    for name in ("depth", "width", "resolution"):
        if not getattr(config, name) >= 1:
            raise EffscopeError(f"--{name} is a factor of 1 or more, got {getattr(config, name)}")
    asked = phis(config.phi)
    if layout.scale.multiple == 1:
        raise EffscopeError(f"{layout.name} was read from weights, its channels are fixed: give a name or a YAML")
    base = cost(layout, config.imgsz)
    law = config.depth * config.width**2 * config.resolution**2
    rows = []
    for phi in asked:
        grown, side = scaled(layout, config, phi)
        found = cost(grown, side)
        rows.append(
            ScaleRow(
                phi, grown.scale.depth, grown.scale.width, side, found.params, found.macs, found.flops,
                found.conv_flops, found.flops / base.flops, law**phi,
            )
        )  # fmt: skip
    return ScaleResult(layout.name, config.imgsz, law, tuple(rows), origin(config, layout.digest()))
