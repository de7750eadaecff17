"""Files by torch.save: a pickled module, or a state dict with other values around it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from effscope.checkpoint.contents import Checkpoint, Kind, from_tensors
from effscope.checkpoint.formats.torchscript import script_buffers, script_state
from effscope.checkpoint.pickled.archive import TorchArchive
from effscope.checkpoint.pickled.module_tree import ModuleReader, Plain, is_module, without_wrapper
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.pickled.reader import load_records
from effscope.checkpoint.pickled.records import Record, TensorRecord
from effscope.checkpoint.tidy import tidy
from effscope.errors import EffscopeError

AVERAGED: tuple[tuple[str, ...], ...] = (
    ("ema",), ("ema", "module"), ("ema", "model"), ("ema", "state_dict"), ("ema", "shadow"), ("ema_model",),
    ("model_ema",), ("state_dict_ema",), ("ema_state_dict",), ("model_ema_state_dict",), ("params_ema",),
)  # fmt: skip
"""Keys that lead to averaged weights in a checkpoint: Ultralytics, RT-DETR, timm, BasicSR and others."""

PLAIN: tuple[tuple[str, ...], ...] = (
    ("state_dict",), ("model_state_dict",), ("model",), ("model", "state_dict"), ("module",), ("net",), ("params",),
    ("weights",),
)  # fmt: skip
"""Keys that lead to the other weights."""

FAMILIES: dict[str, tuple[Kind, str]] = {
    "ultralytics.": ("ultralytics", "Ultralytics"),
    "models.yolo.": ("yolov5", "YOLOv5-repository"),
}
"""Prefix of the class of a pickled model -> kind of the checkpoint and its name for the user."""


def read_torch_zip(path: Path) -> Checkpoint:
    """Read a zip file by torch.save or torch.jit.save. If there are averaged weights, they are used, as in Ultralytics.

    Raises:
        EffscopeError: The file is damaged, names code, or holds neither a model nor a state dict.
    """
    with TorchArchive(path) as archive:
        root = load_records(archive.pickle_bytes())
        if archive.is_script and isinstance(root, Record):
            state, modules = script_state(root, archive.tensor)
            buffers = script_buffers(root, archive.text)
            script = from_tensors(path, "torchscript", state, "TorchScript archive", buffers)
            return script if script.state.keys() != state.keys() else replace(script, modules=modules)
        reader = ModuleReader(archive.tensor)
        module, which = _find_module(root)
        if module is not None:
            return _from_module(path, reader, root, module, which)
        found = _find_state(root)
        if found is None:
            raise EffscopeError(f"it holds {_contents(root)}, no model and no state dict: give a weights file")
        tensors, n_others, where = found
        state, note = tidy({name: archive.tensor(record) for name, record in tensors.items()})
    others = f", {n_others} entries that are not tensors left out" if n_others else ""
    return Checkpoint(
        path,
        "state_dict",
        state,
        class_names=_class_names(reader, _get(root, "names")),
        source=f"state dict{where}{note}{others}",
        metadata=_texts(_get(root, "effscope")),
    )


def _find_module(root: object) -> tuple[Record | None, str]:
    """The pickled model in a checkpoint, and a name for its weights."""
    for places, text in ((AVERAGED, "EMA weights"), (PLAIN, "model weights"), (((),), "whole model")):
        for keys in places:
            value = _at(root, keys)
            if is_module(value):
                return without_wrapper(value), text
    return None, ""


def _from_module(path: Path, reader: ModuleReader, root: object, module: Record, which: str) -> Checkpoint:
    state, buffers = reader.state(module)
    if not state:
        raise EffscopeError(f"its model {shown(module.class_name)} has no tensors: give the trained weights")
    attributes = module.attributes()
    own_yaml = reader.plain_or_none(attributes.get("yaml"))
    kind, family = _family(module.class_name)
    version = _get(root, "version")
    plain_version = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version)
    named = f"{family} {version}" if plain_version else family
    return Checkpoint(
        path,
        kind,
        state,
        modules=reader.records(module),
        class_names=_class_names(reader, attributes.get("names", _get(root, "names"))),
        own_yaml=own_yaml if isinstance(own_yaml, dict) else None,
        source=f"{named} checkpoint ({which}), read without running it",
        buffers=buffers,
    )


def _family(class_name: str) -> tuple[Kind, str]:
    for prefix, family in FAMILIES.items():
        if class_name.startswith(prefix):
            return family
    return "state_dict", f"torch module {shown(class_name)}"


def _find_state(root: object) -> tuple[dict[str, TensorRecord], int, str] | None:
    """The state dict in a checkpoint, the number of other entries in it, and where it is, as text."""
    found = {keys: _tensors_of(_at(root, keys)) for keys in (*AVERAGED, *PLAIN)}
    with_tensors = [keys for keys, (tensors, _) in found.items() if tensors]
    largest = max((len(found[keys][0]) for keys in PLAIN), default=0)
    with_tensors = [keys for keys in with_tensors if keys in PLAIN or len(found[keys][0]) >= largest]
    mostly = [keys for keys in with_tensors if len(found[keys][0]) > found[keys][1]]
    if with_tensors := mostly or with_tensors:
        first, *others = with_tensors
        plain = next((keys for keys in others if first in AVERAGED and keys in PLAIN), None)
        where = f" under '{'.'.join(first)}'" + (f" (not that under '{'.'.join(plain)}')" if plain else "")
        return *found[first], where
    tensors, n_others = _tensors_of(root)
    return (tensors, n_others, "") if len(tensors) > n_others else None


def _tensors_of(value: object) -> tuple[dict[str, TensorRecord], int]:
    """The named tensors of a dict, and the number of its other entries."""
    if not isinstance(value, dict):
        return {}, 0
    tensors = {
        name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, TensorRecord)
    }
    return tensors, len(value) - len(tensors)


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
    name = root.class_name if isinstance(root, Record) else type(root).__name__
    return f"a value of type {shown(name)}"
