"""Cost of every node of a graph: the laws applied at the node's shapes. Imports no torch and no numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from effscope.costing.laws import Counts, count, summed
from effscope.costing.torch_laws import function_of
from effscope.spec.graph import Graph, Node
from effscope.spec.ops import OPS, output_shape
from effscope.spec.shape_rules import Shape

STORED = frozenset({"parameter", "constant"})
"""Primitives that hold values and compute nothing. The nodes that use the values count the read."""


class NodeCost(NamedTuple):
    """One node with its shapes and counts.

    Attributes:
        node: the node.
        inputs: input shapes.
        shape: output shape.
        counts: operations, and values in and out.
        weights: parameters it owns, as (state-dict key, number of values).
        read: values it reads: its inputs, and its weights at each call. 0 for nodes of `STORED`.
        params: number of its parameters, without those of earlier nodes.
    """

    node: Node
    inputs: tuple[Shape, ...]
    shape: Shape
    counts: Counts
    weights: tuple[tuple[str, Any], ...]
    read: Any
    params: Any = 0

    @property
    def moved(self) -> Any:
        """Values that it reads and writes."""
        return self.read + self.counts.elements_out


def operation(row: NodeCost) -> str:
    """Name of the primitive; for an `opaque` node, name of the torch function."""
    target = row.node.args.get("target")
    return function_of(target) if target else row.node.op


def weights(node: Node) -> tuple[tuple[str, Any], ...]:
    """Parameters of a node, trained and frozen: (state-dict key, number of values)."""
    if not node.params:
        return ()
    tensors = OPS[node.op].tensors(node.args)
    return tuple([(key, math.prod(tensors[role].shape)) for role, key in node.params if tensors[role].kind != "buffer"])


def parameters(graph: Graph) -> int:
    """Parameters of a graph, trained and frozen. Shared ones count once."""
    return sum(dict(weight for node in graph.nodes for weight in weights(node)).values())


def node_costs(graph: Graph, image: Shape, known: Mapping[str, NodeCost] | None = None) -> list[NodeCost]:
    """Cost of every node, in forward order.

    Args:
        graph: the graph to count.
        image: input shape, (batch, channels, height, width); sympy symbols give formulas.
        known: node name -> cost, for a graph from which this graph was derived with equal shapes. It is used for
            identical nodes.

    Raises:
        EffscopeError: layers that do not fit together. The message names the node.
    """
    known = known or {}
    shapes: dict[str, Any] = {}
    seen: set[str] = set()
    rows = []
    for node in graph.nodes:
        row = known.get(node.name)
        if row is None or row.node is not node:
            inputs = tuple([shapes[name] for name in node.inputs])
            shape = output_shape(node, inputs or (image,))
            counts, own = count(node.op, node.args, inputs, shape), weights(node)
            read = 0 if node.op in STORED else counts.elements_in + sum([n for _, n in own])
            row = NodeCost(node, inputs, shape, counts, own, read)
        if row.weights:
            params = sum([n for key, n in row.weights if key not in seen])
            row = row if row.params == params else row._replace(params=params)
            seen.update([key for key, _ in row.weights])
        shapes[node.name] = row.shape
        rows.append(row)
    return rows


def total(rows: Iterable[NodeCost]) -> tuple[Counts, int]:
    """Sum of the counts, and sum of the parameters."""
    rows = list(rows)
    return summed([row.counts for row in rows]), sum([row.params for row in rows])
