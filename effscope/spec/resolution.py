"""Stages of a model that is no layout: where its maps change their size."""

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
"""What changes a shape without computing."""


@dataclass(frozen=True)
class Resolution:
    """The parts of a model that give maps of one size, and the convolution that closes them.

    Attributes:
        number: from 1, in forward order.
        side: (height, width) of the maps.
        parts: what the nodes name as their `layer`.
        closing: the last full convolution of the last part at that size.
    """

    number: int
    side: tuple[int, int]
    parts: tuple[str, ...]
    closing: Node


def resolutions(graph: Graph, image: Shape) -> tuple[Resolution, ...]:
    """Runs of parts whose output maps have one size; a run of a single convolution (a stem) is none.

    Squeeze-and-excitation and other maps of 1 x 1 are looked over, depthwise convolutions close nothing.

    Args:
        graph: connected, in forward order.
        image: shape of its input.
    """
    known = shapes(graph, image)
    outputs = {part: convs[-1] for part, convs in _convolutions(graph, known).items()}
    counts = {part: len(convs) for part, convs in _convolutions(graph, known).items()}
    found: list[Resolution] = []
    for side, group in groupby(outputs, key=lambda part: _side(known, outputs[part])):
        parts = tuple(group)
        if sum(counts[part] for part in parts) > 1:
            found.append(Resolution(len(found) + 1, side, parts, outputs[parts[-1]]))
    return tuple(found)


def _side(known: Mapping[str, Any], node: Node) -> tuple[int, int]:
    h, w = known[node.name][2:]
    return (h, w)


def _convolutions(graph: Graph, known: Mapping[str, Any]) -> dict[str, list[Node]]:
    """Part -> its full convolutions at the size of its output map; of a part that only pools behind its convolutions
    (DenseNet's transitions), at the size of the last one."""
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
    at_output = {part: [n for n in found if _side(known, n) == last[part]] for part, found in convs.items()}
    at_last = {part: [n for n in found if _side(known, n) == _side(known, found[-1])] for part, found in convs.items()}
    return {part: at_output[part] or at_last[part] for part in convs}
