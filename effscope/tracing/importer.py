"""Any torch module as a Graph, traced by torch.export. The module is not changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from effscope.costing.laws import is_counted
from effscope.errors import EffscopeError
from effscope.spec.graph import Graph
from effscope.spec.outline import Outline
from effscope.spec.resolution import resolutions
from effscope.tracing.exported import exported
from effscope.tracing.graph_builder import GraphBuilder
from effscope.tracing.inputs import Inputs, image_inputs


@dataclass(frozen=True)
class Imported:
    """A traced module.

    Attributes:
        graph: its primitives, with the view "outputs". If a `view` node has sizes, it is valid only at the traced size.
        outline: one row for each child module; the parameters that the trace does not use.
        constants: tensors of the program that are not in the state dict (constants, buffers that are not saved), by
            their key in the graph; also the further inputs that the user gave.
        inputs: names of the nodes of these inputs.
    """

    graph: Graph
    outline: Outline
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()


def import_module(module: nn.Module, shape: tuple[int, ...], name: str, inputs: Inputs | None = None) -> Imported:
    """Trace a module.

    The mode, state, attributes and hooks of the module and the random state do not change, also if tracing fails. The
    hooks of the module do not run.

    Args:
        module: the module; not a lazy one (see `inputs.materialised`).
        shape: shape of the image (batch, channels, height, width).
        name: name in tables and messages.
        inputs: other arguments than one image of zeros. Their image has this shape.

    Raises:
        EffscopeError: torch.export cannot trace it (the message has its reason in one line), or the size of a value
            depends on other values.
    """
    given = inputs or image_inputs(module, shape)
    found = exported(module, given, name)
    builder = GraphBuilder(module, found.program, given)
    try:
        graph = builder.build()
    except GuardOnDataDependentSymNode:
        raise EffscopeError(
            f"{name} cannot be counted: the size of a value depends on other values (non-maximum suppression, masks); "
            "give only the part of the model before this operation"
        ) from None
    used = {key for node in graph.nodes for _, key in node.params}
    outline = Outline(
        name,
        rows=builder.rows.found,
        stages={layer: stage.number for stage in resolutions(graph, shape) for layer in stage.layers},
        digest=f"traced:{name}",
        unreached={key: p.numel() for key, p in module.named_parameters() if key not in used},
        notes=(
            *((found.note,) if found.note else ()),
            *_uncounted_share(graph, sum(p.numel() for p in module.parameters())),
        ),
    )
    return Imported(graph, outline, builder.constants, frozenset(builder.inputs))


CARRIES = frozenset({"view", "copy", "item", "elementwise", "transpose"})
"""Primitives without multiply-adds that may lie between a parameter and the operation that uses it."""


def _uncounted_share(graph: Graph, total: int) -> tuple[str, ...]:
    """A note on the number of parameters that uncounted operations read, directly or through `CARRIES`; empty if 0."""
    nodes = graph.by_name()
    waiting = [node for node in graph.nodes if not is_counted(node.op, node.args)]
    read: dict[str, int] = {}
    seen: set[str] = set()
    while waiting:
        inputs = [name for name in waiting.pop().inputs if name not in seen]
        seen.update(inputs)
        for source in (nodes[name] for name in inputs):
            if source.op == "parameter":
                read[source.name] = math.prod(source.args["shape"])
            elif source.op in CARRIES:
                waiting.append(source)
    share = sum(read.values())
    return (f"uncounted operations read {share:,} of {total:,} parameters ({share / total:.1%})",) if share else ()
