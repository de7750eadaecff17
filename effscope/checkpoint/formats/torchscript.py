"""Tensors of a TorchScript archive, from the module tree in its pickle. Its code is not read."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from effscope.checkpoint.pickled.module_tree import MAX_MODULES, MAX_PATH, BuildTensor, ModuleRecord
from effscope.checkpoint.pickled.records import Record, TensorRecord
from effscope.errors import EffscopeError

PREFIX = "__torch__"


def is_script(value: object) -> bool:
    """Whether a value of a pickle is a scripted or traced module."""
    return isinstance(value, Record) and value.class_name.startswith(f"{PREFIX}.")


def script_state(root: Record, build: BuildTensor) -> tuple[dict[str, Tensor], tuple[ModuleRecord, ...]]:
    """The state dict of the module, and its modules in tree order.

    Args:
        root: the record of the module. Parameters, buffers and submodules are its attributes.
        build: makes a tensor from its record.

    Raises:
        EffscopeError: the tree is deeper or larger than that of a model.
    """
    state: dict[str, Tensor] = {}
    modules: list[ModuleRecord] = []
    for path, module in _walk(root):
        modules.append(ModuleRecord(path, _class_name(module), {}))
        for name, value in module.attributes().items():
            if isinstance(value, TensorRecord):
                state[f"{path}.{name}" if path else str(name)] = build(value)
    return state, tuple(modules)


def _walk(root: Record) -> Iterator[tuple[str, Record]]:
    pending, seen = [("", root)], 0
    while pending:
        path, module = pending.pop()
        seen += 1
        if len(path) > MAX_PATH or seen > MAX_MODULES:
            raise EffscopeError("its module tree is deeper or larger than that of a model: do not use it")
        yield path, module
        children = [(n, v) for n, v in module.attributes().items() if isinstance(n, str) and is_script(v)]
        for name, child in reversed(children):
            assert isinstance(child, Record)
            pending.append((f"{path}.{name}" if path else name, child))


def _class_name(module: Record) -> str:
    """The Python class of a scripted module, without the prefix and counters of TorchScript."""
    parts = [p for p in module.class_name.split(".")[1:] if not p.startswith("___torch_mangle_")]
    return ".".join(parts)
