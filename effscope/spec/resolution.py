"""Stages of a model without a layout: groups of layers with equal map sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from effscope.spec.graph import Graph, Node
from effscope.spec.ops import shapes
from effscope.spec.shape_rules import Shape

MAP = 4
MOVES = frozenset({"view", "copy"})
"""Primitives that change a shape without computing."""


@dataclass(frozen=True)
class Resolution:
    """Consecutive layers with output maps of one size, and their closing convolution.

    Attributes:
        number: number in forward order, from 1.
        side: (height, width) of the maps.
        layers: `layer` of the nodes.
        closing: the last full convolution of the last layer at this size.
    """

    number: int
    side: tuple[int, int]
    layers: tuple[str, ...]
    closing: Node


def resolutions(graph: Graph, image: Shape) -> tuple[Resolution, ...]:
    """Groups of consecutive layers with output maps of one size and more than one convolution (unlike a stem).

    Maps of 1 x 1 (squeeze and excitation) do not count. A depthwise convolution does not close a group.

    Args:
        graph: a connected graph, in forward order.
        image: shape of its input.
    """
    known = shapes(graph, image)
    convs = _convolutions(graph, known)
    found: list[Resolution] = []
    for side, group in groupby(convs, key=lambda layer: _side(known, convs[layer][-1])):
        layers = tuple(group)
        if sum(len(convs[layer]) for layer in layers) > 1:
            found.append(Resolution(len(found) + 1, side, layers, convs[layers[-1]][-1]))
    return tuple(found)


def _side(known: Mapping[str, Any], node: Node) -> tuple[int, int]:
    h, w = known[node.name][2:]
    return (h, w)


def _convolutions(graph: Graph, known: Mapping[str, Any]) -> dict[str, list[Node]]:
    """Layer -> its full convolutions at the size of its output map; if only pooling follows (DenseNet's transitions),
    at the size of its last convolution."""
    last: dict[str, tuple[int, int]] = {}
    convs: dict[str, list[Node]] = {}
    for node in graph.nodes:
        shape = known[node.name]
        if node.op == "input" or len(shape) != MAP or not all(isinstance(n, int) for n in shape) or shape[2:] == (1, 1):
            continue
        if node.op not in MOVES:
            last[node.layer] = (shape[2], shape[3])
        if node.op == "conv2d" and node.args["groups"] < max(node.args["c_out"], 2):
            convs.setdefault(node.layer, []).append(node)
    at_output = {layer: [n for n in found if _side(known, n) == last[layer]] for layer, found in convs.items()}
    at_last = {
        layer: [n for n in found if _side(known, n) == _side(known, found[-1])] for layer, found in convs.items()
    }
    return {layer: at_output[layer] or at_last[layer] for layer in convs}
