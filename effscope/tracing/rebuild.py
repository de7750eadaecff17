"""Build a module from an imported graph. It returns the outputs of the traced module, which proves the import."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from effscope.errors import EffscopeError
from effscope.nn.build import place
from effscope.nn.modules import BUILDERS
from effscope.spec.graph import Graph, Node
from effscope.tracing.graph_builder import OUTPUTS
from effscope.tracing.importer import Imported


def rebuild(imported: Imported, state: Mapping[str, Tensor]) -> fx.GraphModule:
    """The imported graph as a module of effscope's own primitives, with the weights of a state dict.

    Args:
        imported: the traced module.
        state: its state dict.

    Returns:
        A module that takes the image and returns a tuple with the outputs of the traced module.

    Raises:
        EffscopeError: the state dict lacks a tensor.
    """
    root, code = nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {}
    paths, placed = rebuilt_paths(imported.graph), set()
    known = {**state, **imported.constants}
    for node in imported.graph.nodes:
        if node.op == "input":
            values[node.name] = code.placeholder("image")
            continue
        path = paths[node.module]
        if path not in placed:
            owner = BUILDERS[node.op](node.args)
            _fill(owner, node, known)
            placed.add(path)
            place(root, path, owner)
        if node.op in ("parameter", "constant"):
            values[node.name] = code.get_attr(path)
        else:
            values[node.name] = code.call_module(path, tuple(values[name] for name in node.inputs))
    code.output(tuple(values[name] for name in imported.graph.views[OUTPUTS]))
    return fx.GraphModule(root, code).eval()


def rebuilt_paths(graph: Graph) -> dict[str, str]:
    """Module path of a node -> its module path in the rebuilt module."""
    modules = dict.fromkeys(node.module for node in graph.nodes if node.op != "input")
    return {module: f"module{n}" for n, module in enumerate(modules)}


@torch.no_grad()
def _fill(owner: nn.Module | Tensor, node: Node, state: Mapping[str, Tensor]) -> None:
    own = {"": owner} if isinstance(owner, Tensor) else owner.state_dict()
    for role, key in node.params:
        if key not in state:
            raise EffscopeError(f"the state dict has no '{key}': it does not belong to the imported module")
        own[role].copy_(state[key])
