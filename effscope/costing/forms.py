"""One convolution against its cheaper forms, convolutions only: no batch norm, no bias."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from effscope.config import LayerCostConfig
from effscope.costing.estimate import node_costs, total
from effscope.costing.laws import Counts
from effscope.errors import EffscopeError
from effscope.results import Alternative, LayerCostResult, origin
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node

Form = Callable[[Emitter, Value, Any, int, int], Value]


def _standard(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(x, c_out, k, s, name="conv")


def _depthwise_separable(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(e.conv2d(x, x.c, k, s, groups=x.c, name="dw"), c_out, name="pw")


def _decoupled(e: Emitter, x: Value, c_out: Any, k: int, s: int) -> Value:
    return e.conv2d(e.conv2d(x, c_out, name="pw"), c_out, k, s, groups=c_out, name="dw")


FORMS: dict[str, Form] = {
    "standard": _standard,
    "depthwise-separable (dw, pw)": _depthwise_separable,
    "decoupled (pw, dw)": _decoupled,
}
"""Form -> how it is written in primitives. Sources: REFERENCE section 2; YOLOv10 (arXiv 2405.14458) for decoupled."""

NAMED_LAYER = re.compile(r"conv(\d+)x(\d+)")


def _count(form: Form, c_in: Any, c_out: Any, k: int, s: int, size: Any) -> tuple[Counts, Any]:
    emitter = Emitter("layer", "layer", [Node(INPUT, "input", args={"c": c_in})], {}, {})
    out = form(emitter, Value(INPUT, c_in), c_out, k, s)
    graph = Graph(tuple(emitter.nodes), {"features": (out.name,)})
    return total(node_costs(graph, (1, c_in, size, size)))


def _formulas(form: Form, k: int, s: int) -> tuple[str, str]:
    """Formulas in c1, c2 (channels) and h (side of the OUTPUT), from the same law through sympy."""
    import sympy  # noqa: PLC0415 - slow import, only for formulas

    c1, c2, h = sympy.symbols("c1 c2 h", integer=True, positive=True)
    counts, params = _count(form, c1, c2, k, s, s * h)
    return str(sympy.expand(params)), str(sympy.expand(counts.macs))


def kernel_of(layer: str) -> int:
    """Kernel side of a layer name such as `conv3x3`. Raises EffscopeError for anything else."""
    found = NAMED_LAYER.fullmatch(layer)
    if not found or found.group(1) != found.group(2) or not int(found.group(1)) % 2:
        raise EffscopeError(f"unknown layer '{layer}': write convKxK with an odd K, e.g. conv1x1, conv3x3, conv7x7")
    return int(found.group(1))


def layer_cost(config: LayerCostConfig) -> LayerCostResult:
    """The layer of the config in every form, with the ratio of the standard form's MACs to its own.

    Raises:
        EffscopeError: an unknown layer or a number that is not positive.
    """
    k = kernel_of(config.layer)
    stride = config.stride
    c_out = config.cout or config.cin * (2 if stride == 2 else 1)  # noqa: PLR2004 - halving doubles the channels
    for name, value in (("--cin", config.cin), ("--cout", c_out), ("--stride", stride), ("--size", config.size)):
        if value < 1:
            raise EffscopeError(f"{name} must be at least 1, got {value}")
    standard, _ = _count(_standard, config.cin, c_out, k, stride, config.size)
    rows = []
    for name, form in FORMS.items():
        counts, params = _count(form, config.cin, c_out, k, stride, config.size)
        formulas = _formulas(form, k, stride) if config.symbolic else ("", "")
        rows.append(Alternative(name, params, counts.macs, counts.flops, standard.macs / counts.macs, *formulas))
    return LayerCostResult(config.layer, config.cin, c_out, stride, config.size, tuple(rows), origin())
