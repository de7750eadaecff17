"""Any torch module as a Graph, traced by torch.export; the module is left as it was."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from effscope.costing.laws import is_counted
from effscope.costing.torch_laws import function_of
from effscope.errors import EffscopeError
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.ops import Slot
from effscope.spec.outline import Outline
from effscope.spec.resolution import resolutions
from effscope.tracing.aten_kinds import KINDS
from effscope.tracing.aten_map import ATEN, FIRST
from effscope.tracing.calls import Primitive, called, target_name
from effscope.tracing.exported import exported
from effscope.tracing.sources import Sources, module_of

OUTPUTS = "outputs"
ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that are only a row of others."""


@dataclass(frozen=True)
class Imported:
    """A traced module.

    Attributes:
        graph: its primitives with the view "outputs"; valid for the traced size only where a `view` holds sizes.
        outline: rows by child module; parameters the trace never reached.
        constants: tensors the program reads that are no part of the state dict (constants, buffers that are not saved),
            by the key the graph gives them.
    """

    graph: Graph
    outline: Outline
    constants: Mapping[str, Tensor] = field(default_factory=dict)


def import_module(module: nn.Module, shape: tuple[int, ...], name: str) -> Imported:
    """Trace a module on an image of a shape (batch, channels, height, width).

    The module's mode, state, attributes and hooks and the random state are as before, also when tracing fails; its
    own hooks do not run.

    Raises:
        EffscopeError: torch.export cannot trace it, with its reason in one line; the size of a value depends on what is
            in the values before it.
    """
    program = exported(module, shape, name)
    try:
        found = _Importer(module, program, name).run()
    except GuardOnDataDependentSymNode:
        raise EffscopeError(
            f"{name} cannot be counted: how large its values are depends on what is in them (non-maximum suppression, "
            "masks); give the part of it before that"
        ) from None
    notes = _uncounted_share(found.graph, sum(p.numel() for p in module.parameters()))
    stages = {part: stage.number for stage in resolutions(found.graph, shape) for part in stage.layers}
    return replace(found, outline=replace(found.outline, stages=stages, notes=notes))


CARRIES = frozenset({"view", "copy", "item", "elementwise", "transpose"})
"""What stands between a parameter and the operation that uses it, and counts no multiply-adds itself."""


def _uncounted_share(graph: Graph, total: int) -> tuple[str, ...]:
    """A line on the parameters that uncounted operations read, directly or re-labelled; none where there are none."""
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


def _shape(value: Any) -> Any:
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else tuple(_shape(v) for v in value)


class _Importer:
    """Walks one exported program."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram, name: str) -> None:
        self.module, self.program, self.name = module, program, name
        signature = program.graph_signature
        first: dict[int, str] = {}
        tensors = dict(module.named_parameters(remove_duplicate=False))
        for key, parameter in tensors.items():
            first.setdefault(id(parameter), key)
        self.paths = {key: first[id(parameter)] for key, parameter in tensors.items()}
        self.trained = frozenset(self.paths.values())
        trained = {name: self.paths[key] for name, key in signature.inputs_to_parameters.items()}
        self.keys = {**trained, **signature.inputs_to_buffers}
        self.lifted = dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self.total = sum(p.numel() for p in module.parameters())
        self.buffers = dict(module.named_buffers(remove_duplicate=False))
        self.saved = frozenset(module.state_dict(keep_vars=True))
        held = [n for n in program.graph_module.graph.nodes if n.op == "placeholder"]
        self.parameters = frozenset(n for n in held if n.name in trained)
        self.statistics = frozenset(n for n in held if n.name in signature.inputs_to_buffers)
        self.nodes: list[Node] = []
        self.names: dict[fx.Node, str] = {}
        self.calls: Counter[str] = Counter()
        self.made: dict[str, tuple[Any, ...]] = {}
        self.used: set[str] = {INPUT}
        self.rows: dict[str, tuple[str, str]] = {}
        self.constants: dict[str, Tensor] = {}
        self.sources = Sources(module, program)

    def run(self) -> Imported:
        outputs: tuple[str, ...] = ()
        for node in self.program.graph_module.graph.nodes:
            if node.op == "placeholder" and node.name not in self.keys and node.name not in self.lifted:
                self._input(node)
            elif node.op == "call_function" and self._is_value(node):
                self._call(node)
            elif node.op == "output":
                given = self.program.graph_signature.user_outputs
                made = {n.name: n for n in node.all_input_nodes if self._is_value(n)}
                outputs = tuple(self._value(made[name]) for name in given if name in made)
        graph = Graph(tuple(self.nodes), {OUTPUTS: outputs}, tuple(self.rows))
        owned = {key for node in graph.nodes for _, key in node.params}
        return Imported(graph, self._outline(owned), self.constants)

    def _outline(self, owned: set[str]) -> Outline:
        left = {key: p.numel() for key, p in self.module.named_parameters() if key not in owned}
        return Outline(self.name, self.rows, unreached=left, digest=f"traced:{self.name}")

    def _is_value(self, node: fx.Node) -> bool:
        value = node.meta.get("val")
        return isinstance(value, Tensor) or (
            isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value)
        )

    def _input(self, node: fx.Node) -> None:
        self.names[node] = INPUT
        self.nodes.append(Node(INPUT, "input", args={"c": int(node.meta["val"].shape[1])}, layer=INPUT))

    def _value(self, node: fx.Node) -> str:
        """Name of the node that makes a value; parameters used directly become nodes of their own when first used."""
        if node not in self.names:
            self.names[node] = self._held(node)
        return self.names[node]

    def _held(self, node: fx.Node) -> str:
        key = self.keys.get(node.name) or self._fresh(f"constant_{len(self.constants)}")
        if node.name in self.lifted:
            self.constants[key] = self.program.constants[self.lifted[node.name]]
        elif key not in self.saved:
            self.constants[key] = self.buffers[key]
        if key not in self.used or node.name in self.lifted:
            self.nodes.append(self._holder(key, node))
            self.used.add(key)
        return key

    def _holder(self, key: str, node: fx.Node) -> Node:
        reader = next(iter(node.users))
        part = self._part(module_of(reader) if node.name in self.lifted else key.rpartition(".")[0])
        value = node.meta["val"]
        if key in self.trained:
            return Node(key, "parameter", (), {"shape": _shape(value), "value": 0.0}, part, (("", key),))
        args = {"shape": _shape(value), "dtype": str(value.dtype).removeprefix("torch.")}
        return Node(key, "constant", (), args, part, (("", key),))

    def _call(self, node: fx.Node) -> None:
        path = module_of(node)
        part = self._part(path)
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, fx.Node)
            if target_name(source.target) in FIRST and index == 0 and self._by_name(source).op != "opaque":
                self.names[node] = self.names[source]
                return
            name = self._fresh(f"{self.names[source]}_{index}".replace("@", "_"))
            self._append(node, Node(name, "item", (self.names[source],), {"index": index}, part))
            return
        target = target_name(node.target)
        found = None
        if isinstance(node.target, torch._ops.OpOverload) and target in ATEN:
            found = ATEN[target](called(node, self.parameters, self.statistics))
        if found is None:
            self._append(node, self._foreign(node, path, target, part))
            return
        steps: list[str] = []
        for step in (found,) if isinstance(found, Primitive) else found:
            made = self._primitive(step, steps, path, target, part)
            steps.append(made.name)
            self._append(node, made)

    def _by_name(self, node: fx.Node) -> Node:
        return next(made for made in reversed(self.nodes) if made.name == self.names[node])

    def _append(self, origin: fx.Node, node: Node) -> None:
        self.nodes.append(node)
        self.names[origin] = node.name

    def _primitive(self, found: Primitive, steps: list[str], path: str, target: str, part: str) -> Node:
        inputs = tuple(steps[n] if isinstance(n, int) else self._value(n) for n in found.inputs)
        keys = {role: self.keys[holder.name] for role, holder in found.owned.items()}
        source = self.sources.of(path, target)
        if not keys:
            return Node(self._named(path, target), found.op, inputs, found.args, part, source=source)
        owner = self._owner(keys, path)
        if found.op == "batchnorm" and f"{owner}.num_batches_tracked" in self.saved:
            keys["num_batches_tracked"] = f"{owner}.num_batches_tracked"
        params = tuple(keys.items())
        if self.made.setdefault(owner, (found.op, found.args, params)) != (found.op, found.args, params):
            owner = self._fresh(owner)
            self.made[owner] = (found.op, found.args, params)
        n = self.calls[owner]
        self.calls[owner] += 1
        self.used.add(owner)
        return Node(f"{owner}@{n}" if n else owner, found.op, inputs, found.args, part, params, source)

    def _owner(self, keys: Mapping[str, str], path: str) -> str:
        """The module that holds these tensors under these roles; of others, the first tensor's name without its role:
        `attn.in_proj_weight` gives `attn.in_proj`."""
        own = {role: f"{path}.{role}" if path else role for role in keys}
        if path and all(self.paths.get(name, name) == keys[role] for role, name in own.items()):
            return path
        role, key = next(iter(keys.items()))
        return key.removesuffix(role).rstrip("._") or "top"

    def _wraps(self, module: nn.Module) -> bool:
        """Whether a module is the larger half of the model, around a row of others."""
        around = isinstance(module, ROWS) or any(type(child) in ROWS for child in module.children())
        return around and 2 * sum(p.numel() for p in module.parameters()) > self.total

    def _foreign(self, node: fx.Node, path: str, target: str, part: str) -> Node:
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
        return Node(self._named(path, target), op, tuple(inputs), args, part, source=self.sources.of(path, target))

    def _named(self, path: str, target: str) -> str:
        """A name of its own below the calling module: the function's, with a counter if it is taken."""
        function = function_of(target).rpartition(".")[2].strip("_")
        return self._fresh(f"{path}.{function}" if path else function)

    def _fresh(self, name: str) -> str:
        n = 0
        while (made := f"{name}_{n}" if n else name) in self.used or self._is_module(made):
            n += 1
        self.used.add(made)
        return made

    def _is_module(self, path: str) -> bool:
        try:
            self.module.get_submodule(path)
        except AttributeError:
            return False
        return True

    def _part(self, path: str) -> str:
        """The row a module is shown under: the child it is in, or the child of that where that only holds others."""
        names = path.split(".")
        end, in_row = 1, False
        while end < len(names):
            module = self.module.get_submodule(".".join(names[:end]))
            in_row = in_row or type(module) in ROWS
            if type(module) not in ROWS and (in_row or not self._wraps(module)):
                break
            end += 1
        part = ".".join(names[:end])
        if part not in self.rows:
            self.rows[part] = (part or "(top)", type(self.module.get_submodule(part)).__name__ if part else "")
        return part
