"""What the code of a TorchScript archive tells about its layers, read as a syntax tree. Nothing is run.

The code is Python syntax: each class of the archive has its methods as text. The reader follows `forward` from the
model through its modules with a symbol for each value, and notes which layer reads the value of which other one.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from effscope.checkpoint.layer_calls import NORM, LayerCall
from effscope.checkpoint.pickled.records import Record

PREFIX = "__torch__"
CONVOLUTION, NORMS = "torch.nn.modules.conv.", "torch.nn.modules.batchnorm."
LINEARS = ("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
MOST_STEPS = 1_000_000
MOST_DEPTH = 200
STRIDE, TRANSPOSED = 3, 6
"""Positions in the calls of `_convolution`."""

EPS = 7
"""Position of the epsilon in the calls of batch norms."""

GROUPS = {"_convolution": 8, "conv1d": 6, "conv2d": 6, "conv3d": 6, **{f"conv_transpose{n}d": 6 for n in (1, 2, 3)}}
"""Function -> position of the groups in its calls."""


class _TooMuch(Exception):
    """The code is longer or deeper than that of a model."""


@dataclass(frozen=True)
class _Module:
    """A module of the archive: its path and its record."""

    path: str
    record: Record


@dataclass
class _Reading:
    """What was read: the calls of layers, and how many times each value is used."""

    calls: list[LayerCall] = field(default_factory=list)
    readers: Counter[Any] = field(default_factory=Counter)
    values: int = 0
    steps: int = 0

    def fresh(self) -> int:
        self.values += 1
        return self.values


def class_name_of(record: Record) -> str:
    """The Python class of a scripted module, without the prefix and counters of TorchScript."""
    return ".".join(p for p in record.class_name.split(".")[1:] if not p.startswith("___torch_mangle_"))


def script_calls(root: Record, text: Callable[[str], str]) -> tuple[list[LayerCall], Counter[Any]]:
    """The calls of layers, and how many times each value is read; empty if the code cannot be followed.

    Args:
        root: the record of the module.
        text: name of an entry of the archive -> its text.
    """
    reading = _Reading()
    try:
        result = _Code(text, reading).call(_Module("", root), "forward", [reading.fresh()], 0)
        reading.readers[_symbol(result)] += 1
    except (_TooMuch, SyntaxError, ValueError, RecursionError, MemoryError):
        return [], Counter()
    return reading.calls, reading.readers


class _Code:
    """Follows the code of an archive."""

    def __init__(self, text: Callable[[str], str], reading: _Reading) -> None:
        self._text, self._reading = text, reading
        self._trees: dict[str, dict[str, ast.ClassDef]] = {}

    def call(self, module: _Module, method: str, given: list[Any], depth: int) -> Any:
        """Follow a method of a module for these values; returns the symbol of its result."""
        layer = self._layer(module, given) if method == "forward" else None
        if layer is not None:
            self._reading.calls.append(layer)
            self._reading.readers[_symbol(layer.source)] += 1
            return layer.out
        body = self._method(module.record, method)
        if body is None or depth > MOST_DEPTH:
            raise _TooMuch
        names = [argument.arg for argument in body.args.args]
        known: dict[str, Any] = dict(zip(names, [module, *given], strict=False))
        return _Frame(self, module, known, depth).run(body.body)

    @property
    def reading(self) -> _Reading:
        """What was read so far."""
        return self._reading

    def _layer(self, module: _Module, given: list[Any]) -> LayerCall | None:
        """The call of a layer of torch; None for other modules."""
        name = class_name_of(module.record)
        own = name.rpartition(".")[2]
        if not given or not name.startswith((CONVOLUTION, NORMS, *LINEARS)):
            return None
        out = self._reading.fresh()
        if name.startswith(NORMS):
            return LayerCall(module.path, NORM, given[0], out, eps=float(self._constant(module, ("batch_norm",), EPS)))
        groups = self._constant(module, tuple(GROUPS), None) if name.startswith(CONVOLUTION) else 1
        return LayerCall(module.path, own, given[0], out, int(groups))

    def _constant(self, module: _Module, functions: tuple[str, ...], position: int | None) -> Any:
        """The number at a position of the call of one of the functions in the code of a layer; 1 if it is left out."""
        tree = self._class(module.record)
        for node in ast.walk(tree) if tree else ():
            if not isinstance(node, ast.Call):
                continue
            called = _called(node.func, tree)
            if called in functions:
                return _number(node.args, GROUPS[called] if position is None else position)
        raise _TooMuch

    def _method(self, record: Record, name: str) -> ast.FunctionDef | None:
        tree = self._class(record)
        found = [
            node for node in (tree.body if tree else ()) if isinstance(node, ast.FunctionDef) and node.name == name
        ]
        return found[0] if found else None

    def _class(self, record: Record) -> ast.ClassDef | None:
        place, _, name = record.class_name.rpartition(".")
        if place not in self._trees:
            tree = ast.parse(self._text(f"code/{place.replace('.', '/')}.py"))
            self._trees[place] = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        return self._trees[place].get(name)


def _called(function: ast.expr, tree: ast.AST | None) -> str:
    """The last name of a called function, also of one that was given a local name (`_0 = torch...batch_norm`)."""
    if isinstance(function, ast.Attribute):
        return function.attr
    if isinstance(function, ast.Name) and tree is not None:
        named = (node for node in ast.walk(tree) if isinstance(node, ast.Assign))
        for node in named:
            is_it = any(isinstance(target, ast.Name) and target.id == function.id for target in node.targets)
            if is_it and isinstance(node.value, ast.Attribute):
                return node.value.attr
    return ""


class _Frame:
    """One run of a method: names of its values."""

    def __init__(self, code: _Code, module: _Module, known: dict[str, Any], depth: int) -> None:
        self._code, self._module, self._known, self._depth = code, module, known, depth
        self._result: Any = None

    def run(self, body: list[ast.stmt]) -> Any:
        for statement in body:
            self._count()
            if isinstance(statement, ast.Assign):
                self._assign(statement.targets, statement.value)
            elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                self._assign([statement.target], statement.value)
            elif isinstance(statement, ast.Return):
                self._result = self._value(statement.value) if statement.value is not None else None
            elif isinstance(statement, ast.Expr):
                self._value(statement.value)
            elif isinstance(statement, ast.If | ast.For | ast.While | ast.With):
                self._branch(statement)
        return self._result

    def _branch(self, statement: Any) -> None:
        """The parts of a branch or loop, each once. The names that they assign are new values after it."""
        for test in (getattr(statement, "test", None), getattr(statement, "iter", None)):
            if test is not None:
                self._use(test)
        parts = [*statement.body, *getattr(statement, "orelse", ())]
        self.run(parts)
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._code.reading.readers[_symbol(self._known.get(node.id))] += 1
                self._known[node.id] = self._code.reading.fresh()

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        found = self._value(value)
        for target in targets:
            for name in _names(target):
                self._known[name] = found if isinstance(target, ast.Name) else self._code.reading.fresh()

    def _value(self, node: ast.expr) -> Any:
        """The module or symbol of an expression. Each use of a symbol as an argument counts as a read."""
        self._count()
        if isinstance(node, ast.Name):
            return self._known.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._child(self._value(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._use(node)
        return self._code.reading.fresh()

    def _call(self, node: ast.Call) -> Any:
        function = node.func
        if isinstance(function, ast.Name) and function.id == "getattr" and len(node.args) == 2:  # noqa: PLR2004
            name = node.args[1]
            return self._child(self._value(node.args[0]), str(name.value) if isinstance(name, ast.Constant) else "")
        owner = self._value(function.value) if isinstance(function, ast.Attribute) else None
        arguments = (*node.args, *(keyword.value for keyword in node.keywords))
        if isinstance(function, ast.Attribute) and isinstance(owner, _Module):
            return self._code.call(owner, function.attr, list(map(self._value, arguments)), self._depth + 1)
        given = list(map(self._read, arguments))
        out = self._code.reading.fresh()
        layer = _function_call(function, node.args, given, self._module.path, out)
        self._code.reading.calls.extend([layer] if layer else [])
        return out

    def _read(self, node: ast.expr) -> Any:
        """The value of an argument, counted as read if it is a symbol."""
        found = self._value(node)
        self._code.reading.readers[_symbol(found)] += 1
        return found

    def _use(self, node: ast.expr) -> None:
        """Count every value in an expression as read."""
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self._read(part)

    def _child(self, owner: Any, name: str) -> Any:
        """A submodule; the path of its owner and the name of another attribute."""
        if not isinstance(owner, _Module):
            return self._code.reading.fresh()
        child = owner.record.attributes().get(name)
        if isinstance(child, Record) and child.class_name.startswith(f"{PREFIX}."):
            return _Module(f"{owner.path}.{name}" if owner.path else name, child)
        return (owner.path, name)

    def _count(self) -> None:
        self._code.reading.steps += 1
        if self._code.reading.steps > MOST_STEPS:
            raise _TooMuch


def _function_call(
    function: ast.expr, arguments: Sequence[ast.expr], given: Sequence[Any], path: str, out: int
) -> LayerCall | None:
    """The call of a layer by a module of another class than torch's, which calls torch's function itself."""
    name = function.attr if isinstance(function, ast.Attribute) else ""
    if name == "batch_norm":
        owners = [value[0] for value in given if isinstance(value, tuple) and value[1] == "running_mean"]
        return LayerCall(owners[0], NORM, given[0], out, eps=float(_number(arguments, EPS))) if owners else None
    if name not in GROUPS or len(given) <= TRANSPOSED:
        return None
    groups_at = GROUPS[name]
    if name == "_convolution":
        turned = _number(arguments, TRANSPOSED) is True
        strides = arguments[STRIDE]
        sides = strides.elts if isinstance(strides, ast.List) else ()
        name = f"conv{'_transpose' if turned else ''}{len(sides)}d"
    class_name = name.replace("conv_transpose", "ConvTranspose").replace("conv", "Conv")
    groups, weight = int(_number(arguments, groups_at)), given[1]
    if isinstance(weight, tuple):
        return LayerCall(weight[0], class_name, given[0], out, groups) if weight[1] == "weight" else None
    return LayerCall(path, class_name, given[0], out, groups, computed=True)


def _number(arguments: Sequence[ast.expr], position: int) -> Any:
    """The constant at a position of a call; 1 if it is left out."""
    value = arguments[position] if position < len(arguments) else None
    return value.value if isinstance(value, ast.Constant) else 1


def _names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name):
            yield node.id


def _symbol(value: Any) -> Any:
    """A value that can be counted: a symbol, or None for modules and for what has no symbol."""
    return value if isinstance(value, int | tuple) else None
