"""Cost of one layer in each of its forms: numbers, and formulas from the same laws."""

from __future__ import annotations

from typing import Any

from effscope.config import LayerCostConfig
from effscope.costing.laws import ITEM_BYTES, Counts
from effscope.costing.layer_forms import LayerForm, NamedLayer, named_layer
from effscope.costing.nodes import NodeCost, node_costs, total
from effscope.errors import EffscopeError
from effscope.results import Alternative, LayerCostResult, origin
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node

ROOT = "model.0"


def graph_of(form: LayerForm, c_in: Any, c_out: Any, stride: int) -> Graph:
    """The form as a graph with one layer. Channels may be sympy symbols."""
    emitter = Emitter(ROOT, ROOT, [Node(INPUT, "input", args={"c": c_in}, layer=INPUT)], {}, {})
    out = form.emit(emitter, Value(INPUT, c_in), c_out, stride)
    return Graph(tuple(emitter.nodes), {"features": (out.name,)}, (ROOT,))


def form_costs(form: LayerForm, c_in: Any, c_out: Any, stride: int, size: Any) -> list[NodeCost]:
    """Cost of every node of a form on one square map. `size` is the side of the input map."""
    return node_costs(graph_of(form, c_in, c_out, stride), (1, c_in, size, size))


def count_form(form: LayerForm, c_in: Any, c_out: Any, stride: int, size: Any) -> tuple[Counts, Any]:
    """Counts and parameters of a form on one square map. `size` is the side of the input map."""
    return total(form_costs(form, c_in, c_out, stride, size))


def _formulas(form: LayerForm, layer: NamedLayer, stride: int) -> tuple[str, str]:
    """Formulas of parameters and of MACs, in channels and h, the side of the OUTPUT.

    A layer that widens has c1 input and c2 output channels, other layers have c channels. The laws are evaluated
    at multiples of `divides` channels and of `window`, to avoid rounding; the formulas are divided by these factors.
    """
    import sympy  # noqa: PLC0415 - slow import, only for formulas

    c, c1, c2, h = sympy.symbols("c c1 c2 h", integer=True, positive=True)
    step = max(layer.divides, form.divides)
    given = (c1, step * c2) if layer.widens else (step * c, step * c)
    counts, params = count_form(form, *given, stride, stride * form.window * h)
    real = {c: c / step, c2: c2 / step, h: h / form.window}
    return str(sympy.expand(params.subs(real))), str(sympy.expand(sympy.sympify(counts.macs).subs(real)))


def _row(
    form: LayerForm, layer: NamedLayer, config: LayerCostConfig, c_out: int, stride: int, standard: Counts
) -> Alternative:
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
    """Cost of the layer in every form that fits these sizes. `ratio`: MACs of the standard form / MACs of the form.

    Raises:
        EffscopeError: an unknown layer, a number that is not positive, or channels or sides that the layer cannot have.
    """
    layer = named_layer(config.layer)
    c_out, stride = _sizes(config, layer)
    for name, value in (("cin", config.cin), ("cout", c_out), ("stride", stride), ("size", config.size)):
        if value < 1:
            raise EffscopeError(f"`{name}` must be at least 1, got {value}")
    if c_out % layer.divides:
        raise EffscopeError(f"{config.layer} needs channels in multiples of {layer.divides}, got {c_out}")
    first = layer.forms[0]
    if not first.fits(c_out, stride, config.size):
        raise EffscopeError(f"{config.layer}: `size` must be a multiple of {stride}, got {config.size}")
    standard, _ = count_form(first, config.cin, c_out, stride, config.size)
    fitting = [form for form in layer.forms if form.fits(c_out, stride, config.size)]
    rows = tuple(_row(form, layer, config, c_out, stride, standard) for form in fitting)
    return LayerCostResult(config.layer, config.cin, c_out, stride, config.size, rows, origin(config), layer.scope)


def _sizes(config: LayerCostConfig, layer: NamedLayer) -> tuple[int, int]:
    """Output channels and stride. `cout` 0: 2 * cin at stride 2, else cin. Stride 1 if the layer keeps its size."""
    if not layer.widens:
        if config.cout not in (0, config.cin):
            raise EffscopeError(
                f"{config.layer} keeps its channels: `cout` must be 0 or {config.cin}, got {config.cout}"
            )
        return config.cin, 1
    fixed = layer.forms[0].strides
    stride = fixed[0] if fixed else config.stride
    doubled = 2 if stride == 2 else 1  # noqa: PLR2004 - halving the map doubles its channels
    return config.cout or doubled * config.cin, stride
