"""A model as a graph of primitive nodes, connected by name, for counting and running. No torch, no height or width."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from effscope.config.image_size import IMAGE_CHANNELS
from effscope.errors import unknown

INPUT = "image"
DECODED = "decoded"
"""Name of the view with the boxes and scores of a detector's inference head."""


def input_channels(graph: Graph) -> int:
    """Channels of the image that a graph reads."""
    return next((int(node.args["c"]) for node in graph.nodes if node.op == "input"), IMAGE_CHANNELS)


@dataclass(frozen=True)
class Source:
    """The call of a torch module from which a node was traced. The rules of other counters need it.

    Attributes:
        target: the aten overload, `conv2d.padding`.
        module: class of the calling module, or its nearest base class in torch.nn.
        exact: whether the module has exactly this class, not a subclass.
        paths: number of paths to the module in the module tree; more than one if several parents share it.
        fused: whether torch runs the module, or a module around it, as one fused kernel at inference.
    """

    target: str
    module: str = "Module"
    exact: bool = True
    paths: int = 1
    fused: bool = False


@dataclass(frozen=True)
class Node:
    """One primitive operation.

    Attributes:
        name: unique: the module path (`model.8.m.0.cv2.conv`); later calls of a module add a counter (`model.9.m@1`).
        op: key of OPS, LAWS and BUILDERS.
        inputs: names of the nodes that it reads.
        args: arguments of the op, name -> value.
        layer: id of its layout layer.
        params: (role, state-dict key) of the tensors it owns; two nodes with equal keys share the tensors.
        source: the call it was traced from; None for nodes of a layout.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    args: Mapping[str, Any] = field(default_factory=dict)
    layer: str = ""
    params: tuple[tuple[str, str], ...] = ()
    source: Source | None = None

    @property
    def module(self) -> str:
        """Module path: the name without its call counter."""
        return self.name.split("@")[0]


@dataclass(frozen=True)
class Graph:
    """Nodes in forward order with named output views.

    Attributes:
        nodes: every node comes after its inputs.
        views: view name -> names of its output nodes. Detectors have `o2m` and, with a dual head, `o2o` (raw
            logits per level), and `decoded` (boxes and scores of the inference head).
        layers: layer ids in forward order; `model.N` is the layer at position N.
        info: facts about the outputs: `nc`, `strides`, `box_format`.
    """

    nodes: tuple[Node, ...]
    views: Mapping[str, tuple[str, ...]]
    layers: tuple[str, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    def by_name(self) -> dict[str, Node]:
        """Node name -> node."""
        return {node.name: node for node in self.nodes}

    def in_layer(self, layer_id: str) -> tuple[Node, ...]:
        """The nodes of one layer, in forward order."""
        return tuple(node for node in self.nodes if node.layer == layer_id)

    def keep(self, *views: str) -> Graph:
        """The graph with only the nodes that these views need. Raises EffscopeError for an unknown view."""
        for view in views:
            if view not in self.views:
                raise unknown("view", view, self.views)
        wanted = {name for view in views for name in self.views[view]}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if node.name in wanted or node.op == "input":
                wanted.update(node.inputs)
                kept.append(node)
        return replace(self, nodes=tuple(reversed(kept)), views={v: self.views[v] for v in views})

    def consumers(self) -> dict[str, list[str]]:
        """Node name -> names of the nodes that read its output."""
        readers: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node.name)
        return readers


def rewire(nodes: Iterable[Node], renamed: Mapping[str, str]) -> tuple[Node, ...]:
    """The nodes with renamed inputs. Renames are followed: a -> b and b -> c turn a into c."""

    def target(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    def rewired(node: Node) -> Node:
        inputs = tuple(map(target, node.inputs))
        if inputs == node.inputs:
            return node
        return Node(node.name, node.op, inputs, node.args, node.layer, node.params, node.source)

    return tuple(map(rewired, nodes))
