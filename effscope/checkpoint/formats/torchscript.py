"""Tensors of a TorchScript archive, from the module tree in its pickle. Its code is read, never run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from effscope.checkpoint.contents import Checkpoint, from_tensors, with_calls
from effscope.checkpoint.formats.script_code import PREFIX, class_name_of, script_calls
from effscope.checkpoint.layer_calls import LayerCall
from effscope.checkpoint.pickled.archive import TorchArchive
from effscope.checkpoint.pickled.module_tree import MAX_MODULES, MAX_PATH, BuildTensor, ModuleRecord
from effscope.checkpoint.pickled.records import Record, TensorRecord
from effscope.errors import EffscopeError

CLASS = re.compile(
    r"^class (?P<name>\w+)\(Module\):\n  __parameters__ = \[[^\]\n]*\]\n  __buffers__ = \[(?P<buffers>[^\]\n]*)\]",
    re.MULTILINE,
)
"""The head of a class in the source that TorchScript stores."""


def is_script(value: object) -> bool:
    """Whether a value of a pickle is a scripted or traced module."""
    return isinstance(value, Record) and value.class_name.startswith(f"{PREFIX}.")


def read_script(path: Path, archive: TorchArchive, root: Record) -> Checkpoint:
    """The tensors of an archive by torch.jit.save, and what its code tells about its layers.

    Raises:
        EffscopeError: it has no tensors, or its module tree is larger than that of a model.
    """
    state, modules = script_state(root, archive.tensor)
    if not state:
        raise EffscopeError("it holds no weights, or only as constants (torch.jit.freeze): give the trained model")
    found = from_tensors(path, "torchscript", state, "TorchScript archive", script_buffers(root, archive.text))
    if found.state.keys() != state.keys():
        return found
    calls, readers = script_calls(root, archive.text)
    return with_calls(found, with_layers(root, modules, calls), calls, readers)


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
        modules.append(ModuleRecord(path, class_name_of(module), {}))
        for name, value in module.attributes().items():
            if isinstance(value, TensorRecord):
                state[f"{path}.{name}" if path else str(name)] = build(value)
    return state, tuple(modules)


def with_layers(
    root: Record, modules: tuple[ModuleRecord, ...], calls: Iterable[LayerCall]
) -> tuple[ModuleRecord, ...]:
    """The modules, with groups and epsilons of those that are called as layers, under each of their paths."""
    same = {path: id(module) for path, module in _walk(root)}
    found = {same[call.path]: call.record() for call in calls if call.path in same}
    told = [found.get(same[module.path]) for module in modules]
    return tuple(
        replace(layer, path=module.path) if layer else module for module, layer in zip(modules, told, strict=True)
    )


def script_buffers(root: Record, text: Callable[[str], str]) -> frozenset[str] | None:
    """Names of the buffers in `script_state`; None if the class of a module with tensors does not list its own.

    Args:
        root: the record of the module.
        text: name of an entry of the archive -> its text. The sources of the classes list the names of their parameters
            and buffers; they are read as text.
    """
    listed: dict[str, dict[str, frozenset[str]]] = {}
    found: set[str] = set()
    for path, module in _walk(root):
        names = [str(name) for name, value in module.attributes().items() if isinstance(value, TensorRecord)]
        if not names:
            continue
        place, _, class_name = module.class_name.rpartition(".")
        if place not in listed:
            listed[place] = _listed_buffers(text(f"code/{place.replace('.', '/')}.py"))
        if class_name not in listed[place]:
            return None
        found.update(f"{path}.{name}" if path else name for name in names if name in listed[place][class_name])
    return frozenset(found)


def _listed_buffers(source: str) -> dict[str, frozenset[str]]:
    """Class name -> names of its buffers, from the source of a module of TorchScript."""
    found = {}
    for match in CLASS.finditer(source):
        found[match["name"]] = frozenset(re.findall(r'"([^"]*)"', match["buffers"]))
    return found


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
