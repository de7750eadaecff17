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
    """Cost of one layer and of its cheaper forms: `effscope cost --layer`.

    Args:
        layer: name of the layer, e.g. "conv3x3", "c2f" or "cib".
        cin: input channels.
        cout: output channels; 0: 2 * cin at stride 2, else cin.
        stride: stride of the layer.
        size: side of the input feature map.
        symbolic: also write formulas (needs sympy).

    Raises:
        EffscopeError: bad input, in one line.
    """
    return compare(LayerCostConfig(layer, cin, cout, stride, size, symbolic))
