"""One layer against the forms that could stand in its place: numbers, and formulas from the same laws."""

from __future__ import annotations

from typing import Any

from effscope.config import LayerCostConfig
from effscope.costing.laws import ITEM_BYTES, Counts
from effscope.costing.layer_families import Form, Layer, named_layer
from effscope.costing.nodes import NodeCost, node_costs, total
from effscope.errors import EffscopeError
from effscope.results import Alternative, LayerCostResult, origin
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node

ROOT = "model.0"


def graph_of(form: Form, c_in: Any, c_out: Any, stride: int) -> Graph:
    """The form as a graph of one layer; channels may be sympy symbols."""
    emitter = Emitter(ROOT, ROOT, [Node(INPUT, "input", args={"c": c_in}, layer=INPUT)], {}, {})
    out = form.emit(emitter, Value(INPUT, c_in), c_out, stride)
    return Graph(tuple(emitter.nodes), {"features": (out.name,)}, (ROOT,))


def form_costs(form: Form, c_in: Any, c_out: Any, stride: int, size: Any) -> list[NodeCost]:
    """Cost of every node of a form on a square map of one image."""
    return node_costs(graph_of(form, c_in, c_out, stride), (1, c_in, size, size))


def count_form(form: Form, c_in: Any, c_out: Any, stride: int, size: Any) -> tuple[Counts, Any]:
    """Counts and parameters of a form on a square map of one image."""
    return total(form_costs(form, c_in, c_out, stride, size))


def _formulas(form: Form, layer: Layer, stride: int) -> tuple[str, str]:
    """Parameters and MACs in channels and h, the side of the OUTPUT, by the same laws through sympy.

    A layer that widens has channels c1 in and c2 out, others c. What divides channels or the side is written in as a
    factor and taken out again, so that no rounding is left in the formula.
    """
    import sympy  # noqa: PLC0415 - slow import, only for formulas

    c, c1, c2, h = sympy.symbols("c c1 c2 h", integer=True, positive=True)
    step = max(layer.divides, form.divides)
    given = (c1, step * c2) if layer.widens else (step * c, step * c)
    counts, params = count_form(form, *given, stride, stride * form.window * h)
    real = {c: c / step, c2: c2 / step, h: h / form.window}
    return str(sympy.expand(params.subs(real))), str(sympy.expand(sympy.sympify(counts.macs).subs(real)))


def _row(form: Form, layer: Layer, config: LayerCostConfig, c_out: int, stride: int, standard: Counts) -> Alternative:
    rows = form_costs(form, config.cin, c_out, stride, config.size)
    counts, params = total(rows)
    moved = ITEM_BYTES["float32"] * sum(row.moved for row in rows)
    return Alternative(
        form.name,
        params,
        counts.macs,
        counts.flops,
        standard.macs / counts.macs if counts.macs else 0.0,
        *(_formulas(form, layer, stride) if config.symbolic else ("", "")),
        activation_bytes=ITEM_BYTES["float32"] * counts.elements_out,
        bytes=moved,
        intensity=counts.flops / moved,
        source=form.source,
    )


def layer_cost(config: LayerCostConfig) -> LayerCostResult:
    """The layer of the config in every form that fits, with the ratio of the first one's MACs to its own.

    Raises:
        EffscopeError: an unknown layer, a number that is not positive, channels the layer cannot have.
    """
    layer = named_layer(config.layer)
    c_out, stride = _sizes(config, layer)
    for name, value in (("--cin", config.cin), ("--cout", c_out), ("--stride", stride), ("--size", config.size)):
        if value < 1:
            raise EffscopeError(f"{name} must be at least 1, got {value}")
    if c_out % layer.divides:
        raise EffscopeError(f"{config.layer} needs channels in multiples of {layer.divides}, got {c_out}")
    first = layer.forms[0]
    if not first.fits(c_out, stride, config.size):
        raise EffscopeError(f"{config.layer}: a side of {config.size} is no multiple of {stride}")
    standard, _ = count_form(first, config.cin, c_out, stride, config.size)
    fitting = [form for form in layer.forms if form.fits(c_out, stride, config.size)]
    rows = tuple(_row(form, layer, config, c_out, stride, standard) for form in fitting)
    return LayerCostResult(config.layer, config.cin, c_out, stride, config.size, rows, origin(config), layer.scope)


def _sizes(config: LayerCostConfig, layer: Layer) -> tuple[int, int]:
    """Output channels, doubled at stride 2 where nothing is said, and the stride; 1 for a layer that keeps its map."""
    if not layer.widens:
        if config.cout not in (0, config.cin):
            raise EffscopeError(f"{config.layer} keeps its channels: --cout {config.cout} is not --cin {config.cin}")
        return config.cin, 1
    fixed = layer.forms[0].strides
    stride = fixed[0] if fixed else config.stride
    doubled = 2 if stride == 2 else 1  # noqa: PLR2004 - halving the map doubles its channels
    return config.cout or doubled * config.cin, stride
