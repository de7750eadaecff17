"""The state dict and the modules of a pickled torch module, from its records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch

from effscope.checkpoint.pickled.records import Budget, Record, TensorRecord
from effscope.errors import EffscopeError

MAX_DEPTH = 100
MAX_NAME = 200
MAX_PATH = 1000
MAX_MODULES = 50_000
MAX_VALUES = 1_000_000
MAX_LISTED_NUMBERS = 64
BOOKKEEPING = frozenset({"training", "_modules", "_parameters", "_buffers"})

Plain = None | bool | int | float | str | list["Plain"] | tuple["Plain", ...] | dict["Plain", "Plain"]
BuildTensor = Callable[[TensorRecord], torch.Tensor]


@dataclass(frozen=True)
class ModuleRecord:
    """One module of a pickled model.

    Attributes:
        path: Module path, "" for the model itself.
        class_name: Full name of its class in the file. The class may not exist on this machine.
        scalars: Attributes by name: numbers, strings, and lists and tuples of them; also tensors of at most 64
            numbers that are neither parameters nor buffers, as lists.
    """

    path: str
    class_name: str
    scalars: dict[str, Plain]

    def without(self, name: str) -> ModuleRecord:
        """The module without an attribute."""
        return replace(self, scalars={key: value for key, value in self.scalars.items() if key != name})


class NotPlain(Exception):
    """A value that is not plain data, or contains other data."""


class ModuleReader:
    """Reads module records. All reads of one file share one budget."""

    def __init__(self, build: BuildTensor) -> None:
        """A reader that makes tensors with `build`."""
        self._build = build
        self._budget = Budget(MAX_VALUES)

    def walk(self, root: Record) -> Iterator[tuple[str, Record]]:
        """Each module with its path, parents before their children, as in `named_modules`.

        A shared module occurs once for each of its paths, like its tensors in a state dict.

        Raises:
            EffscopeError: The tree is deeper or larger than that of a model.
        """
        pending = [("", root)]
        n_modules = 0
        while pending:
            path, module = pending.pop()
            n_modules += 1
            if len(path) > MAX_PATH or n_modules > MAX_MODULES:
                raise EffscopeError(
                    f"its module tree has paths longer than {MAX_PATH} or more than {MAX_MODULES} modules: "
                    "do not use it"
                )
            yield path, module
            children = self._entries(module, "_modules")
            for name, child in reversed(children):
                if isinstance(child, Record):
                    pending.append((_join(path, name), child))

    def state(self, root: Record) -> tuple[dict[str, torch.Tensor], frozenset[str]]:
        """The state dict of the module: same keys, same order, without buffers that are not persistent; and the keys of
        the buffers.

        Raises:
            EffscopeError: A parameter or buffer is not a plain tensor.
        """
        found: dict[str, torch.Tensor] = {}
        held: set[str] = set()
        for path, module in self.walk(root):
            hidden = module.attributes().get("_non_persistent_buffers_set")
            buffers = self._entries(module, "_buffers")
            if isinstance(hidden, set):
                buffers = [(name, value) for name, value in buffers if name not in hidden]
            for name, value in (*self._entries(module, "_parameters"), *buffers):
                if value is None:
                    continue
                key = _join(path, name)
                if not isinstance(value, TensorRecord):
                    raise EffscopeError(f"'{key}' is not a plain tensor (quantized or sparse): re-save it as float32")
                found[key] = self._build(value)
            held.update(_join(path, name) for name, value in buffers if value is not None)
        return found, frozenset(held)

    def records(self, root: Record) -> tuple[ModuleRecord, ...]:
        """Every module with its plain attributes, in the order of `walk`."""
        return tuple(ModuleRecord(path, module.class_name, self._scalars(module)) for path, module in self.walk(root))

    def plain(self, value: object) -> Plain:
        """A copy of a value that contains only plain data.

        Raises:
            NotPlain: Something in it is not plain data, or it is nested deeper than 100.
            EffscopeError: It expands to far more values than the file holds.
        """
        return self._plain(value, 0)

    def plain_or_none(self, value: object) -> Plain:
        """The same, or None if it is not plain data."""
        try:
            return self.plain(value)
        except NotPlain:
            return None

    def _plain(self, value: object, depth: int) -> Plain:
        self._budget.charge(1)
        if depth > MAX_DEPTH:
            raise NotPlain
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self._plain(part, depth + 1) for part in value]
        if isinstance(value, tuple):
            return tuple(self._plain(part, depth + 1) for part in value)
        if isinstance(value, dict):
            if not all(isinstance(key, str | int | float | bool) for key in value):
                raise NotPlain
            return {key: self._plain(part, depth + 1) for key, part in value.items()}
        raise NotPlain

    def _scalars(self, module: Record) -> dict[str, Plain]:
        attributes = module.attributes()
        self._budget.charge(len(attributes))
        found: dict[str, Plain] = {}
        for name, value in attributes.items():
            if not isinstance(name, str) or name in BOOKKEEPING or name.startswith("_"):
                continue
            shown = self._numbers(value) if isinstance(value, TensorRecord) else value
            if isinstance(shown, bool | int | float | str | list | tuple):
                plain = self.plain_or_none(shown)
                if plain is not None:
                    found[name] = plain
        return found

    def _numbers(self, record: TensorRecord) -> object:
        """A small tensor as nested lists of Python numbers; None if it is large or damaged."""
        if math.prod(record.size) > MAX_LISTED_NUMBERS:
            return None
        try:
            return self._build(record).tolist()
        except EffscopeError:
            return None

    def _entries(self, module: Record, kind: str) -> list[tuple[str, object]]:
        """The named entries of `_modules`, `_parameters` or `_buffers` of a module."""
        entries = module.attributes().get(kind)
        if not isinstance(entries, dict):
            return []
        self._budget.charge(1 + len(entries))
        if not all(isinstance(name, str) and len(name) <= MAX_NAME for name in entries):
            raise EffscopeError("a module in it has a name that is not a short string: do not use it")
        return list(entries.items())


def is_module(value: object) -> TypeGuard[Record]:
    """Whether a value of the pickle was a torch module."""
    return isinstance(value, Record) and isinstance(value.attributes().get("_modules"), dict)


def without_wrapper(module: Record) -> Record:
    """The module itself, or the module inside DataParallel or DistributedDataParallel."""
    for _ in range(MAX_DEPTH):
        inner = module.attributes()["_modules"]
        child = inner.get("module") if isinstance(inner, dict) else None
        if not module.class_name.endswith("DataParallel") or not is_module(child):
            break
        module = child
    return module


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
