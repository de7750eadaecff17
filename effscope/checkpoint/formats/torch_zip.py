"""Files by torch.save: a pickled module, or a state dict with other values around it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from effscope.checkpoint.arrays import ArrayRecord, array_tensor
from effscope.checkpoint.averaged import is_averaged
from effscope.checkpoint.contents import Checkpoint, Kind
from effscope.checkpoint.entries import Entry, Keys, Weights, entries, pickled_modules
from effscope.checkpoint.formats.torchscript import read_script
from effscope.checkpoint.nested_classes import load_records
from effscope.checkpoint.networks import (
    AVERAGED,
    PLAIN,
    find_state,
    network_names,
    paired,
    said_nameless,
    said_networks,
    with_average,
)
from effscope.checkpoint.pickled.archive import TorchArchive
from effscope.checkpoint.pickled.module_tree import (
    BuildTensor,
    ModuleReader,
    ModuleRecord,
    Plain,
    is_module,
    without_wrapper,
)
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.pickled.records import Record, TensorRecord
from effscope.checkpoint.tidy import tidy
from effscope.errors import EffscopeError

FAMILIES: dict[str, tuple[Kind, str]] = {
    "ultralytics.": ("ultralytics", "Ultralytics"),
    "models.yolo.": ("yolov5", "YOLOv5-repository"),
}
"""Prefix of the class of a pickled model -> kind of the checkpoint and its name for the user."""

EMA = "EMA weights"


def read_torch_zip(path: Path) -> Checkpoint:
    """Read a zip file by torch.save or torch.jit.save. If there are averaged weights, they are used, as in Ultralytics.

    Raises:
        EffscopeError: The file is damaged, names code, or holds neither a model nor a state dict.
    """
    with TorchArchive(path) as archive:
        root = load_records(archive.pickle_bytes())
        if archive.is_script and isinstance(root, Record):
            return read_script(path, archive, root)
        reader = ModuleReader(archive.tensor)
        module, which = _find_module(root)
        if module is not None:
            return _from_module(path, Contents(root, reader, archive.tensor), module, which)
        found = find_state(root)
        if found is None:
            return _from_modules(path, Contents(root, reader, archive.tensor))
        state, note = tidy({name: tensor_of(weights, archive.tensor) for name, weights in found.tensors.items()})
    others = f", {found.n_others} entries that are not tensors left out" if found.n_others else ""
    return Checkpoint(
        path,
        "state_dict",
        state,
        class_names=_class_names(reader, _get(root, "names")),
        source=f"state dict{found.where}{note}{others}",
        metadata=_texts(_get(root, "effscope")),
    )


def _find_module(root: object) -> tuple[Record | None, str]:
    """The pickled model in a checkpoint, and a name for its weights."""
    for places, text in ((AVERAGED, EMA), (PLAIN, "model weights"), (((),), "whole model")):
        for keys in places:
            value = _at(root, keys)
            if is_module(value):
                return without_wrapper(value), text
    return None, ""


def _from_module(path: Path, contents: Contents, module: Record, which: str) -> Checkpoint:
    state, buffers = contents.reader.state(module)
    if not state:
        raise EffscopeError(f"its model {shown(module.class_name)} has no tensors: give the trained weights")
    if which != EMA:
        state, note = contents.averaged(state)
        which += note
    attributes = module.attributes()
    own_yaml = contents.reader.plain_or_none(attributes.get("yaml"))
    kind, family = _family(module.class_name)
    version = _get(contents.root, "version")
    plain_version = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version)
    named = f"{family} {version}" if plain_version else family
    return Checkpoint(
        path,
        kind,
        state,
        modules=contents.reader.records(module),
        class_names=_class_names(contents.reader, attributes.get("names", _get(contents.root, "names"))),
        own_yaml=own_yaml if isinstance(own_yaml, dict) else None,
        source=f"{named} checkpoint ({which}), read without running it",
        buffers=buffers,
    )


def _from_modules(path: Path, contents: Contents) -> Checkpoint:
    """The pickled modules under other keys: one model, or several networks as one state.

    Raises:
        EffscopeError: There are none.
    """
    found = dict(contents.modules())
    states = {keys: contents.reader.state(module) for keys, module in found.items()}
    averaged = [entry for entry in entries(contents.root) if is_averaged(entry)]
    networks, _ = paired([*(Entry(keys, dict(state)) for keys, (state, _) in states.items()), *averaged])
    networks = [network for network in networks if network.own.path in found]
    if not networks:
        raise EffscopeError(f"it holds {_contents(contents.root)}, no model and no state dict: give a weights file")
    if len(networks) == 1:
        keys = networks[0].own.path
        return _from_module(path, contents, found[keys], f"model under {shown('.'.join(keys))}")
    prefixes = network_names([network.own.path for network in networks])
    tensors: dict[str, Tensor] = {}
    modules: list[ModuleRecord] = []
    held: set[str] = set()
    for network, prefix in zip(networks, prefixes, strict=True):
        keys = network.own.path
        tensors |= {f"{prefix}{key}": tensor_of(part, contents.build) for key, part in network.tensors.items()}
        held |= {f"{prefix}{key}" for key in states[keys][1]}
        records = contents.reader.records(found[keys])
        modules += [replace(record, path=f"{prefix}{record.path}".rstrip(".")) for record in records]
    source = f"torch modules{said_networks(networks, prefixes)}{said_nameless(contents.root)}, read without running it"
    return Checkpoint(path, "state_dict", tensors, modules=tuple(modules), source=source, buffers=frozenset(held))


def tensor_of(weights: Weights, build: BuildTensor) -> Tensor:
    """The tensor of an entry of the file.

    Raises:
        EffscopeError: It reaches beyond its numbers, or has an element type that torch has not.
    """
    if isinstance(weights, Tensor):
        return weights
    return array_tensor(weights) if isinstance(weights, ArrayRecord) else build(weights)


@dataclass(frozen=True)
class Contents:
    """The values of a file.

    Attributes:
        root: The root of its pickle.
        reader: Reads modules.
        build: Makes a tensor from its record.
    """

    root: object
    reader: ModuleReader
    build: BuildTensor

    def modules(self) -> list[tuple[Keys, Record]]:
        """Its pickled modules with their paths."""
        return [(keys, without_wrapper(module)) for keys, module in pickled_modules(self.root)]

    def averaged(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
        """The state of its only module with the averaged weights of the file, if it has some that fit; and a note."""
        modules = [(keys, module) for keys, module in self.modules() if is_averaged(Entry(keys, {}))]
        copies = [Entry(keys, dict(self.reader.state(module)[0])) for keys, module in modules]
        network = with_average(Entry((), dict(state)), [*copies, *entries(self.root)])
        if network.averaged is None:
            return state, said_nameless(self.root)
        tensors = {key: tensor_of(weights, self.build) for key, weights in network.tensors.items()}
        n, of = len(network.found), len(state)
        return tensors, f", {n} of its {of} tensors averaged, from {shown(network.averaged.name)}"


def _family(class_name: str) -> tuple[Kind, str]:
    for prefix, family in FAMILIES.items():
        if class_name.startswith(prefix):
            return family
    return "state_dict", f"torch module {shown(class_name)}"


def _class_names(reader: ModuleReader, value: object) -> tuple[str, ...] | None:
    """Class names by index from a list, or from a dict of index to name; None for anything else."""
    plain = reader.plain_or_none(value)
    if isinstance(plain, dict):
        if not plain or not all(_is_index(key) for key in plain):
            return None
        plain = [plain[key] for key in sorted(plain, key=lambda key: int(str(key)))]
    if not isinstance(plain, list | tuple) or not plain:
        return None
    return tuple(str(name) for name in plain)


def _is_index(key: Plain) -> bool:
    return (isinstance(key, int) and not isinstance(key, bool)) or (
        isinstance(key, str) and re.fullmatch(r"\d{1,9}", key) is not None
    )


def _texts(value: object) -> dict[str, str]:
    """The entries of a dict with string keys and string values; empty for anything else."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(key, str) and isinstance(text, str)}


def _get(root: object, key: str) -> object:
    return root.get(key) if isinstance(root, dict) else None


def _at(root: object, keys: tuple[str, ...]) -> object:
    for key in keys:
        root = _get(root, key)
    return root


def _contents(root: object) -> str:
    if isinstance(root, dict):
        keys = ", ".join(shown(str(key)) for key in list(root)[:8] if isinstance(key, str | int))
        return f"a dictionary with the keys {keys or '(none)'}"
    if isinstance(root, TensorRecord):
        return "one tensor without a name"
    name = root.class_name if isinstance(root, Record) else type(root).__name__
    return f"a value of type {shown(name)}"
