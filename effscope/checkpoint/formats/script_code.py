"""What the code of a TorchScript archive tells about its layers, read as a syntax tree. Nothing is run.

The code is Python syntax: each class of the archive has its methods as text. The reader follows `forward` from the
model through its modules with a symbol for each value, and notes which layer reads the value of which other one.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from effscope.checkpoint.formats.script_layers import (
    BATCH_NORM,
    EPS,
    GROUPS,
    called,
    constant,
    eps_of,
    function_call,
    groups_of,
    local_names,
)
from effscope.checkpoint.layer_calls import NORM, LayerCall
from effscope.checkpoint.pickled.records import Record

PREFIX = "__torch__"
CONVOLUTION, NORMS = "torch.nn.modules.conv.", "torch.nn.modules.batchnorm."
LINEARS = ("torch.nn.modules.linear.Linear", "torch.nn.modules.linear.NonDynamicallyQuantizableLinear")
MAX_STEPS = 1_000_000
MAX_DEPTH = 200
MAX_SEMICOLONS = 1000
MAX_TEXT, MAX_TEXTS = 512 * 2**10, 2**20
"""Most characters of one text and of all: a syntax tree needs several hundred times as much memory."""


class _TooMuch(Exception):
    """The code is longer or deeper than that of a model."""


@dataclass(frozen=True)
class _Module:
    """A module of the archive: its path and its record."""

    path: str
    record: Record


@dataclass(frozen=True)
class _Function:
    """A function by its last name."""

    name: str


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
    except (_TooMuch, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError):
        return [], Counter()
    return reading.calls, reading.readers


class _Code:
    """Follows the code of an archive."""

    def __init__(self, text: Callable[[str], str], reading: _Reading) -> None:
        self._text, self.reading = text, reading
        self._paths: dict[int, str] = {}
        self._trees: dict[str, dict[str, ast.ClassDef]] = {}
        self._constants: dict[str, Any] = {}
        self._read = 0

    def call(self, module: _Module, method: str, given: list[Any], depth: int) -> Any:
        """Follow a method of a module for these values; returns the symbol of its result."""
        layer = self._layer(module, given) if method == "forward" else None
        if layer is not None:
            self.reading.calls.append(layer)
            self.reading.readers[_symbol(layer.source)] += 1
            return layer.out
        body = self._method(module.record, method)
        if body is None or depth > MAX_DEPTH:
            raise _TooMuch
        names = [argument.arg for argument in body.args.args]
        known: dict[str, Any] = dict(zip(names, [module, *given], strict=False))
        return _Frame(self, module, known, depth).run(body.body)

    def _layer(self, module: _Module, given: list[Any]) -> LayerCall | None:
        """The call of a layer of torch; None for other modules. A layer under several paths has the first one."""
        name = class_name_of(module.record)
        if not given or not name.startswith((CONVOLUTION, NORMS, *LINEARS)):
            return None
        out, path = self.reading.fresh(), self._paths.setdefault(id(module.record), module.path)
        told = self._constant(module.record)
        if name.startswith(NORMS):
            return LayerCall(path, NORM, given[0], out, eps=eps_of(told))
        groups = groups_of(told) if name.startswith(CONVOLUTION) else 1
        return LayerCall(path, name.rpartition(".")[2], given[0], out, groups)

    def _constant(self, record: Record) -> Any:
        """The groups or the epsilon in the code of a layer of torch: the value in the call of its function, 1 if it is
        left out, None if it is computed."""
        if record.class_name not in self._constants:
            self._constants[record.class_name] = None
            tree = self._class(record)
            names = local_names(tree) if tree else {}
            for node in ast.walk(tree) if tree else ():
                if not isinstance(node, ast.Call):
                    continue
                function = called(node.func, names)
                if function in (*GROUPS, BATCH_NORM):
                    position = GROUPS.get(function, EPS)
                    self._constants[record.class_name] = constant(node.args, position)
                    break
        return self._constants[record.class_name]

    def _method(self, record: Record, name: str) -> ast.FunctionDef | None:
        tree = self._class(record)
        methods = (node for node in (tree.body if tree else ()) if isinstance(node, ast.FunctionDef))
        return next((method for method in methods if method.name == name), None)

    def _class(self, record: Record) -> ast.ClassDef | None:
        place, _, name = record.class_name.rpartition(".")
        if place not in self._trees:
            code = self._text(f"code/{place.replace('.', '/')}.py")
            self._read += len(code)
            if len(code) > MAX_TEXT or self._read > MAX_TEXTS or code.count(";") > MAX_SEMICOLONS:
                raise _TooMuch
            tree = ast.parse(code)
            self._trees[place] = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        return self._trees[place].get(name)


class _Frame:
    """One run of a method: names of its values."""

    def __init__(self, code: _Code, module: _Module, known: dict[str, Any], depth: int) -> None:
        self._code, self._module, self._known, self._depth = code, module, known, depth
        self._reading = code.reading
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
        """The parts of a branch or loop, each once and each from what was known before. The names that they assign are
        new values after it, and what they were in each part counts as read."""
        for test in (getattr(statement, "test", None), getattr(statement, "iter", None)):
            if test is not None:
                self._use(test)
        before, assigned = dict(self._known), set[str]()
        for part in (statement.body, getattr(statement, "orelse", [])):
            self._known = dict(before)
            self.run(part)
            changed = {name for name, value in self._known.items() if before.get(name) != value}
            for name in changed:
                self._reading.readers[_symbol(self._known[name])] += 1
            for name in assigned | changed:
                self._reading.readers[_symbol(before.get(name))] += 1
            assigned |= changed
        self._known = before | {name: self._reading.fresh() for name in assigned}

    def _assign(self, targets: list[ast.expr], value: ast.expr) -> None:
        found = self._value(value)
        for target in targets:
            for name in _names(target):
                self._known[name] = found if isinstance(target, ast.Name) else self._reading.fresh()

    def _value(self, node: ast.expr) -> Any:
        """The module or symbol of an expression. Each use of a symbol as an argument counts as a read."""
        self._count()
        if isinstance(node, ast.Name):
            return self._known.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = self._value(node.value)
            return self._child(owner, node.attr) if isinstance(owner, _Module) else _Function(node.attr)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._use(node)
        return self._reading.fresh()

    def _call(self, node: ast.Call) -> Any:
        function = node.func
        if isinstance(function, ast.Name) and function.id == "getattr" and len(node.args) == 2:  # noqa: PLR2004
            name = node.args[1]
            return self._child(self._value(node.args[0]), str(name.value) if isinstance(name, ast.Constant) else "")
        owner = self._value(function.value) if isinstance(function, ast.Attribute) else None
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(function, ast.Attribute) and isinstance(owner, _Module):
            return self._code.call(owner, function.attr, list(map(self._value, arguments)), self._depth + 1)
        given = list(map(self._read, arguments))
        out = self._reading.fresh()
        layer = function_call(self._name_of(function), node.args, given, self._module.path, out)
        self._reading.calls.extend([layer] if layer else [])
        return out

    def _name_of(self, function: ast.expr) -> str:
        """Last name of a called function."""
        if isinstance(function, ast.Attribute):
            return function.attr
        value = self._known.get(function.id) if isinstance(function, ast.Name) else None
        return value.name if isinstance(value, _Function) else ""

    def _read(self, node: ast.expr) -> Any:
        """The value of an argument, counted as read if it is a symbol."""
        found = self._value(node)
        self._reading.readers[_symbol(found)] += 1
        return found

    def _use(self, node: ast.expr) -> None:
        """Count every value in an expression as read."""
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.expr):
                self._read(part)

    def _child(self, owner: Any, name: str) -> Any:
        """A submodule; the path of its owner and the name of another attribute."""
        if not isinstance(owner, _Module):
            return self._reading.fresh()
        child = owner.record.attributes().get(name)
        if isinstance(child, Record) and child.class_name.startswith(f"{PREFIX}."):
            return _Module(f"{owner.path}.{name}" if owner.path else name, child)
        return (owner.path, name)

    def _count(self) -> None:
        self._reading.steps += 1
        if self._reading.steps > MAX_STEPS:
            raise _TooMuch


def _names(target: ast.expr) -> Iterator[str]:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _symbol(value: Any) -> Any:
    """A value that can be counted: a symbol, or None for modules and for what has no symbol."""
    return value if isinstance(value, int | tuple) else None
