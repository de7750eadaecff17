"""Any torch module as a Graph, traced by torch.export; the module is left as it was."""

from __future__ import annotations

import io
import logging
import operator
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from effscope.errors import EffscopeError
from effscope.nn.aten_map import ATEN, ELEMENTWISE, VIEWS, Primitive, called, target_name
from effscope.nn.build import place
from effscope.nn.primitives import BUILDERS
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.ops import Slot
from effscope.spec.outline import Outline
from effscope.spec.resolution import resolutions

OUTPUTS = "outputs"
ROWS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
"""Modules that are only a row of others."""


@dataclass(frozen=True)
class Imported:
    """A traced module.

    Attributes:
        graph: its primitives with the view "outputs"; valid for the traced size only where a `view` holds sizes.
        outline: rows by child module; parameters the trace never reached.
        constants: tensors the program holds that are no part of the state dict, by the key the graph gives them.
    """

    graph: Graph
    outline: Outline
    constants: Mapping[str, Tensor] = field(default_factory=dict)


def import_module(module: nn.Module, shape: tuple[int, ...], name: str) -> Imported:
    """Trace a module on an image of a shape (batch, channels, height, width).

    The module's mode, state and hooks and the random state are as before, also when tracing fails.

    Raises:
        EffscopeError: torch.export cannot trace it, with its reason in one line.
    """
    found = _Importer(module, _exported(module, shape, name), name).run()
    stages = {part: stage.number for stage in resolutions(found.graph, shape) for part in stage.parts}
    return replace(found, outline=replace(found.outline, stages=stages))


@contextmanager
def _borrowed(module: nn.Module) -> Iterator[None]:
    """The module in eval mode, its attention traced in its parts, nothing printed; afterwards as it was."""
    modes = {part: part.training for part in module.modules()}
    before, fast = logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            yield
    finally:
        for part, training in modes.items():
            part.training = training
        torch.backends.mha.set_fastpath_enabled(fast)
        logging.disable(before)


def _exported(module: nn.Module, shape: tuple[int, ...], name: str) -> torch.export.ExportedProgram:
    first = next((p for p in module.parameters()), torch.zeros(()))
    image = torch.zeros(shape, device=first.device, dtype=first.dtype if first.is_floating_point() else torch.float32)
    with _borrowed(module):
        try:
            return torch.export.export(module, (image,), strict=False)
        except Exception as e:  # torch.export raises whatever the module's own code and dynamo raise
            lines = [line.strip() for line in str(e).splitlines() if line.strip()]
            reason = lines[0][:160] if lines else type(e).__name__
            raise EffscopeError(f"{name} cannot be traced by torch.export at {shape}: {reason}") from e


def _shape(value: Any) -> Any:
    return tuple(int(n) for n in value.shape) if isinstance(value, Tensor) else tuple(_shape(v) for v in value)


class _Importer:
    """Walks one exported program."""

    def __init__(self, module: nn.Module, program: torch.export.ExportedProgram, name: str) -> None:
        self.module, self.program, self.name = module, program, name
        signature = program.graph_signature
        self.keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.lifted = dict(getattr(signature, "inputs_to_lifted_tensor_constants", {}))
        self.trained = set(signature.inputs_to_parameters.values())
        graph = program.graph_module.graph
        self.parameters = frozenset(n for n in graph.nodes if n.op == "placeholder" and n.name in self.keys)
        self.nodes: list[Node] = []
        self.names: dict[fx.Node, str] = {}
        self.calls: Counter[str] = Counter()
        self.used: set[str] = {INPUT}
        self.rows: dict[str, tuple[str, str]] = {}
        self.constants: dict[str, Tensor] = {}

    def run(self) -> Imported:
        outputs: tuple[str, ...] = ()
        for node in self.program.graph_module.graph.nodes:
            if node.op == "placeholder" and node.name not in self.keys and node.name not in self.lifted:
                self._input(node)
            elif node.op == "call_function" and self._is_value(node):
                self._call(node)
            elif node.op == "output":
                outputs = tuple(self._value(n) for n in node.all_input_nodes if self._is_value(n))
        graph = Graph(tuple(self.nodes), {OUTPUTS: outputs}, tuple(self.rows))
        owned = {key for node in graph.nodes for _, key in node.params}
        return Imported(graph, self._outline(owned), self.constants)

    def _outline(self, owned: set[str]) -> Outline:
        tensors = dict(self.module.named_parameters(remove_duplicate=False))
        reached = {id(tensors[key]) for key in owned if key in tensors}
        left = {k: p.numel() for k, p in self.module.named_parameters() if id(p) not in reached}
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
        key = self.keys.get(node.name) or f"constants.{len(self.constants)}"
        value = node.meta["val"]
        if node.name in self.lifted:
            self.constants[key] = self.program.constants[self.lifted[node.name]]
        part = self._part(key.rpartition(".")[0], "")
        shape = _shape(value)
        if key in self.trained:
            made = Node(key, "parameter", (), {"shape": shape, "value": 0.0}, part, (("", key),))
        else:
            dtype = str(value.dtype).removeprefix("torch.")
            made = Node(key, "constant", (), {"shape": shape, "dtype": dtype}, part, (("", key),))
        self.nodes.append(made)
        self.used.add(key)
        return key

    def _call(self, node: fx.Node) -> None:
        path, kind = _module_of(node)
        part = self._part(path, kind)
        if node.target is operator.getitem:
            source, index = node.args
            assert isinstance(source, fx.Node)
            name = self._fresh(f"{self.names[source]}_{index}".replace("@", "_"))
            self._append(node, Node(name, "item", (self.names[source],), {"index": index}, part))
            return
        target = target_name(node.target)
        call = called(node, self.parameters) if isinstance(node.target, torch._ops.OpOverload) else None
        found = ATEN[target](call) if call is not None and target in ATEN else None
        if found is not None:
            self._append(node, self._primitive(node, found, path, target, part))
        else:
            self._append(node, self._foreign(node, path, target, part))

    def _append(self, origin: fx.Node, node: Node) -> None:
        self.nodes.append(node)
        self.names[origin] = node.name

    def _primitive(self, node: fx.Node, found: Primitive, path: str, target: str, part: str) -> Node:
        inputs = tuple(self._value(n) for n in found.inputs)
        keys = {role: self.keys[holder.name] for role, holder in found.owned.items()}
        if not keys:
            return Node(self._named(path, target), found.op, inputs, found.args, part)
        owner = next(iter(keys.values())).rpartition(".")[0] or "top"
        if found.op == "batchnorm" and f"{owner}.num_batches_tracked" in dict(self.module.named_buffers()):
            keys["num_batches_tracked"] = f"{owner}.num_batches_tracked"
        n = self.calls[owner]
        self.calls[owner] += 1
        self.used.add(owner)
        return Node(f"{owner}@{n}" if n else owner, found.op, inputs, found.args, part, tuple(keys.items()))

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
        function = target.partition(".")[0]
        op = "view" if function in VIEWS else "elementwise" if function in ELEMENTWISE else "opaque"
        args = {
            "target": target, "operands": operands, "keywords": keywords, "shape": _shape(node.meta["val"]),
            "tensors": {},
        }  # fmt: skip
        return Node(self._named(path, target), op, tuple(inputs), args, part)

    def _named(self, path: str, target: str) -> str:
        """A name of its own below the calling module: the function's, with a counter if it is taken."""
        function = target.partition(".")[0].strip("_")
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

    def _part(self, path: str, kind: str) -> str:
        """The row a module is shown under: the child it is in, or the child of that where that is only a sequence."""
        names = path.split(".")
        end = 1
        while end < len(names) and isinstance(self.module.get_submodule(".".join(names[:end])), ROWS):
            end += 1
        part = ".".join(names[:end])
        if part not in self.rows:
            self.rows[part] = (part or "(top)", type(self.module.get_submodule(part)).__name__ if part else "")
        return part


def _module_of(node: fx.Node) -> tuple[str, str]:
    """Path and class of the module whose forward made a call, "" for the outermost."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return "", ""
    path, kind = stack[-1]
    return str(path).removeprefix("L['self'].").removeprefix("L['self']"), str(kind).rpartition(".")[2]


def rebuild(imported: Imported, state: Mapping[str, Tensor]) -> fx.GraphModule:
    """The imported graph as a module that runs through this package's own primitives, with the weights of a state dict.

    What it gives is what the traced module gives: that is how an import is proved. Returns the outputs as a tuple.
    """
    root, code = nn.Module(), fx.Graph()
    values: dict[str, fx.Node] = {}
    placed: dict[str, str] = {}
    known = {**state, **imported.constants}
    for node in imported.graph.nodes:
        if node.op == "input":
            values[node.name] = code.placeholder("image")
            continue
        if node.module not in placed:
            owner = BUILDERS[node.op](node.args)
            _fill(owner, node, known)
            placed[node.module] = f"part{len(placed)}"
            place(root, placed[node.module], owner)
        path = placed[node.module]
        if node.op in ("parameter", "constant"):
            values[node.name] = code.get_attr(path)
        else:
            values[node.name] = code.call_module(path, tuple(values[name] for name in node.inputs))
    code.output(tuple(values[name] for name in imported.graph.views[OUTPUTS]))
    return fx.GraphModule(root, code).eval()


@torch.no_grad()
def _fill(owner: nn.Module | Tensor, node: Node, state: Mapping[str, Tensor]) -> None:
    if isinstance(owner, Tensor):
        owner.copy_(state[node.params[0][1]])
        return
    own = owner.state_dict()
    for role, key in node.params:
        own[role].copy_(state[key])
