"""The nodes of a Graph from an exported program, call by call."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from effscope.costing.torch_laws import function_of
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.ops import Slot
from effscope.tracing.aten_kinds import KINDS
from effscope.tracing.aten_map import ATEN, FIRST_OUTPUT_ONLY
from effscope.tracing.calls import Primitive, call_of, target_name
from effscope.tracing.inputs import Inputs
from effscope.tracing.rows import Rows
from effscope.tracing.sources import Sources, module_of
from effscope.tracing.state_keys import StateKeys

OUTPUTS = "outputs"
"""Name of the view that holds the outputs of a traced module."""


class GraphBuilder:
    """Builds the graph of one exported program.

    Attributes:
        rows: the rows of the graph's nodes.
        constants: tensors of the program that are not in the state dict, by their key in the graph.
        inputs: names of the nodes of further inputs that the user gave; `constants` has their values.
    """

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram, inputs: Inputs) -> None:
        self.rows = Rows(module)
        self.constants: dict[str, Tensor] = {}
        self.inputs: list[str] = []
        self._module, self._program, self._inputs = module, program, inputs
        self._keys = StateKeys(module, program)
        self._sources = Sources(module, program)
        self._nodes: list[Node] = []
        self._names: dict[fx.Node, str] = {}
        self._used: set[str] = {INPUT}
        self._calls: Counter[str] = Counter()
        self._owners: dict[str, tuple[Any, ...]] = {}

    def build(self) -> Graph:
        """The graph, with the view `OUTPUTS`."""
        outputs: tuple[str, ...] = ()
        nodes = self._program.graph_module.graph.nodes
        given = [node for node in nodes if node.op == "placeholder" and self._keys.is_input(node)]
        for node, (position, value) in zip(given, enumerate(self._inputs.leaves), strict=True):
            self._input(node, value, is_image=position == self._inputs.image)
        for node in nodes:
            if node.op == "call_function" and _has_tensor(node):
                self._call(node)
            elif node.op == "output":
                found = {n.name: n for n in node.all_input_nodes if _has_tensor(n)}
                wanted = self._program.graph_signature.user_outputs
                outputs = tuple(self._value(found[name]) for name in wanted if name in found)
        return Graph(tuple(self._nodes), {OUTPUTS: outputs}, tuple(self.rows.found))

    def _input(self, node: fx.Node, value: Any, *, is_image: bool) -> None:
        """The image as the input of the graph; other tensors that the user gave are constants."""
        if is_image:
            shape = _shape(node.meta["val"])
            self._append(node, Node(INPUT, "input", args={"c": shape[1] if len(shape) > 1 else 1}, layer=INPUT))
        elif isinstance(value, Tensor):
            name = self._fresh(node.name)
            args = {"shape": _shape(value), "dtype": str(value.dtype).removeprefix("torch.")}
            self.constants[name] = value
            self.inputs.append(name)
            row = self.rows.of(module_of(next(iter(node.users), node)))
            self._append(node, Node(name, "constant", (), args, row, (("", name),)))

    def _append(self, origin: fx.Node, node: Node) -> None:
        self._nodes.append(node)
        self._names[origin] = node.name

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, node: fx.Node) -> str:
        """Name of the node with this value. A tensor of the module gets a node at its first direct use."""
        if node not in self._names:
            self._names[node] = self._stored(node)
        return self._names[node]

    def _stored(self, node: fx.Node) -> str:
        key = self._keys.of.get(node.name) or self._fresh(f"constant_{len(self.constants)}")
        value = self._keys.unsaved(node)
        if value is not None:
            self.constants[key] = value
        if key not in self._used or self._keys.is_constant(node):
            self._nodes.append(self._tensor_node(key, node))
            self._used.add(key)
        return key

    def _tensor_node(self, key: str, node: fx.Node) -> Node:
        reader = next(iter(node.users))
        row = self.rows.of(module_of(reader) if self._keys.is_constant(node) else key.rpartition(".")[0])
        value = node.meta["val"]
        if key in self._keys.trained:
            return Node(key, "parameter", (), {"shape": _shape(value), "value": 0.0}, row, (("", key),))
        args = {"shape": _shape(value), "dtype": str(value.dtype).removeprefix("torch.")}
        return Node(key, "constant", (), args, row, (("", key),))

    # -- calls -------------------------------------------------------------------------------------------------------

    def _call(self, node: fx.Node) -> None:
        path = module_of(node)
        row = self.rows.of(path)
        if node.target is operator.getitem:
            self._item(node, row)
            return
        target = target_name(node.target)
        found = None
        if isinstance(node.target, torch._ops.OpOverload) and target in ATEN:
            found = ATEN[target](call_of(node, self._keys.parameters, self._keys.buffers))
        if found is None:
            self._append(node, self._torch_call(node, path, target, row))
            return
        steps: list[str] = []
        for step in (found,) if isinstance(found, Primitive) else found:
            made = self._primitive(step, steps, path, target, row)
            steps.append(made.name)
            self._append(node, made)

    def _item(self, node: fx.Node, row: str) -> None:
        """One of several outputs of a call. The first output in `FIRST_OUTPUT_ONLY` is the node of the call."""
        source, index = node.args
        assert isinstance(source, fx.Node)
        name = self._names[source]
        if target_name(source.target) in FIRST_OUTPUT_ONLY and index == 0 and self._op_of(name) != "opaque":
            self._names[node] = name
            return
        fresh = self._fresh(f"{name}_{index}".replace("@", "_"))
        self._append(node, Node(fresh, "item", (name,), {"index": index}, row))

    def _op_of(self, name: str) -> str:
        return next(node.op for node in reversed(self._nodes) if node.name == name)

    def _primitive(self, found: Primitive, steps: list[str], path: str, target: str, row: str) -> Node:
        inputs = tuple(steps[n] if isinstance(n, int) else self._value(n) for n in found.inputs)
        keys = {role: self._keys.of[placeholder.name] for role, placeholder in found.owned.items()}
        source = self._sources.of(path, target)
        if not keys:
            return Node(self._call_name(path, target), found.op, inputs, found.args, row, source=source)
        owner = self._owner(keys, path)
        batches = f"{owner}.num_batches_tracked"
        if found.op == "batchnorm" and self._keys.is_saved(batches):
            keys["num_batches_tracked"] = batches
        params = tuple(keys.items())
        if self._owners.setdefault(owner, (found.op, found.args, params)) != (found.op, found.args, params):
            owner = self._fresh(owner)
            self._owners[owner] = (found.op, found.args, params)
        n = self._calls[owner]
        self._calls[owner] += 1
        self._used.add(owner)
        return Node(f"{owner}@{n}" if n else owner, found.op, inputs, found.args, row, params, source)

    def _owner(self, keys: Mapping[str, str], path: str) -> str:
        """The module that holds these tensors under these roles. If there is none, the first key without its role:
        `attn.in_proj` for `attn.in_proj_weight`."""
        own = {role: f"{path}.{role}" if path else role for role in keys}
        if path and all(self._keys.first.get(name, name) == keys[role] for role, name in own.items()):
            return path
        role, key = next(iter(keys.items()))
        return key.removesuffix(role).rstrip("._") or "top"

    def _torch_call(self, node: fx.Node, path: str, target: str, row: str) -> Node:
        """A node for a call that no primitive covers: it keeps its torch arguments."""
        inputs: list[str] = []

        def slot(value: Any) -> Any:
            if isinstance(value, fx.Node):
                inputs.append(self._value(value))
                return Slot(len(inputs) - 1)
            if isinstance(value, list | tuple):
                return tuple(slot(v) for v in value)
            return value

        operands = tuple(slot(a) for a in node.args)
        keywords = {key: slot(value) for key, value in node.kwargs.items()}
        function = function_of(target)
        op = next((kind for kind, functions in KINDS.items() if function in functions), "opaque")
        args = {
            "target": target, "operands": operands, "keywords": keywords, "shape": _shape(node.meta["val"]),
            "tensors": {},
        }  # fmt: skip
        return Node(self._call_name(path, target), op, tuple(inputs), args, row, source=self._sources.of(path, target))

    # -- names -------------------------------------------------------------------------------------------------------

    def _call_name(self, path: str, target: str) -> str:
        """A new name under the calling module: that of the function, with a counter if it is taken."""
        function = function_of(target).rpartition(".")[2].strip("_")
        return self._fresh(f"{path}.{function}" if path else function)

    def _fresh(self, name: str) -> str:
        n = 0
        while (made := f"{name}_{n}" if n else name) in self._used or self._is_module(made):
            n += 1
        self._used.add(made)
        return made

    def _is_module(self, path: str) -> bool:
        try:
            self._module.get_submodule(path)
        except AttributeError:
            return False
        return True


def _has_tensor(node: fx.Node) -> bool:
    """Whether the value of a node is a tensor, or a list with tensors."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value))


def _shape(value: Any) -> Any:
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else tuple(_shape(v) for v in value)
