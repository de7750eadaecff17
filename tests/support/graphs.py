"""One block as a graph of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from effscope.costing.nodes import parameters
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node


@dataclass(frozen=True)
class Case:
    """How a block is called: input channels, its arguments, and how many inputs at which strides it reads."""

    c: int
    args: dict[str, Any] = field(default_factory=dict)
    strides: tuple[int, ...] = (1,)


def graph_of(case: Case, emit: Callable[..., Value | None], *, many: bool = False) -> Graph:
    """One layer that holds the block; several inputs are made by depthwise convolutions of the image."""
    emitter = Emitter("model.0", "0", [Node(INPUT, "input", args={"c": case.c}, layer=INPUT)], {}, {})
    image = Value(INPUT, case.c, 8)
    xs = (
        [image]
        if not many
        else [emitter.at("pre", i).conv2d(image, 2 * case.c, 3, s) for i, s in enumerate(case.strides)]
    )
    out = emit(emitter, xs if many else image, **case.args)
    outputs = out if isinstance(out, list) else [out]
    views = emitter.views or {"features": tuple(value.name for value in outputs)}
    return Graph(tuple(emitter.nodes), views, ("0",), emitter.info)


def params_of(emit: Callable[..., Value | None], c: int, **args: Any) -> int:
    return parameters(graph_of(Case(c, args), emit))
