"""TorchScript archives: the tensors of the module tree in their pickle. The code they hold is never looked at."""

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
    """Tensors by key as in the module's state dict, and the modules in tree order.

    Args:
        root: the module record; its parameters, buffers and submodules are plain attributes.
        build: makes a tensor of its record.

    Raises:
        EffscopeError: the tree is deeper or larger than a model can be.
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
            raise EffscopeError("its module tree is deeper or larger than a model can be: do not use it")
        yield path, module
        children = [(n, v) for n, v in module.attributes().items() if isinstance(n, str) and is_script(v)]
        for name, child in reversed(children):
            assert isinstance(child, Record)
            pending.append((f"{path}.{name}" if path else name, child))


def _class_name(module: Record) -> str:
    """The Python class a scripted module was made of: without the prefix and the counters TorchScript adds."""
    parts = [p for p in module.class_name.split(".")[1:] if not p.startswith("___torch_mangle_")]
    return ".".join(parts)
