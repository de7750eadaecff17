"""`layer_cost`: what one layer costs. No model is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.config import LayerCostConfig
from effscope.costing.layer_cost import layer_cost as compare

if TYPE_CHECKING:
    from effscope.results import LayerCostResult


def layer_cost(
    layer: str, cin: int = 256, cout: int = 0, stride: int = 2, size: int = 80, symbolic: bool = False
) -> LayerCostResult:
    """One convolution against its cheaper forms: `effscope cost --layer`. Raises EffscopeError for bad input."""
    return compare(LayerCostConfig(layer, cin, cout, stride, size, symbolic))
