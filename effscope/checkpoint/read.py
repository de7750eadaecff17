"""`read_checkpoint`: any weights file people have, read without running anything in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open

from effscope.checkpoint.file_kind import file_kind
from effscope.checkpoint.formats.onnx import read_onnx
from effscope.checkpoint.formats.pt2 import ExportArchive, is_export
from effscope.checkpoint.formats.torchscript import script_state
from effscope.checkpoint.pickled.archive import TorchArchive
from effscope.checkpoint.pickled.module_tree import (
    ModuleReader,
    ModuleRecord,
    Plain,
    is_module,
    without_wrapper,
)
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.pickled.reader import load_records
from effscope.checkpoint.pickled.records import Record, TensorRecord
from effscope.errors import EffscopeError

STATE_KEYS = ("ema", "state_dict", "model_state_dict", "model")
MODULE_KEYS = {"ema": "EMA weights", "model": "model weights"}
WRAPPERS = ("module.", "_orig_mod.", "network.")

Kind = Literal["ultralytics", "yolov5", "state_dict", "safetensors", "torchscript", "pt2", "onnx"]
FAMILIES: dict[str, tuple[Kind, str]] = {
    "ultralytics.": ("ultralytics", "Ultralytics"),
    "models.yolo.": ("yolov5", "YOLOv5-repository"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A weights file as data.

    Attributes:
        path: The file.
        kind: "ultralytics" (a pickled module of that package), "yolov5" (a pickled `models.yolo` module),
            "state_dict" (names and tensors, or a pickled module of any other origin), "safetensors", "torchscript",
            "pt2" (torch.export), "onnx".
        state: Tensors by key as in the module tree, e.g. `model.0.conv.weight`; on the CPU, in the
            dtype of the file, values not judged.
        modules: The modules in tree order; empty if the file holds tensors only.
        class_names: Names of the classes by index, if the file has them.
        own_yaml: The layout the model was built from, if the file has it as plain data.
        source: One line for the user on what was read.
        metadata: Texts of a safetensors header, or of what effscope wrote into a .pt; else empty.
    """

    path: Path
    kind: Kind
    state: dict[str, torch.Tensor]
    modules: tuple[ModuleRecord, ...] = ()
    class_names: tuple[str, ...] | None = None
    own_yaml: dict[Plain, Plain] | None = None
    source: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file: Ultralytics, YOLOv5, any pickled torch module, state dict, safetensors.

    Nothing that the file names is imported or run, whatever it is.

    Args:
        path: A `.pt`, `.pth` or `.safetensors` file; judged by content, not by name.

    Returns:
        The checkpoint; of EMA and plain weights the EMA, as Ultralytics chooses.

    Raises:
        EffscopeError: In one line, what the file really is and what to do.
    """
    file = Path(path)
    try:
        return READERS[file_kind(file)](file)
    except EffscopeError as error:
        raise EffscopeError(f"{file}: {error}") from error
    except OSError as error:
        raise EffscopeError(f"{file}: cannot be read ({error.strerror}): check the file") from error
    except MemoryError as error:
        raise EffscopeError(f"{file}: does not fit in memory: use a larger machine") from error


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # SafetensorError, and whatever torch says of a strange dtype
        raise EffscopeError(
            f"it is a damaged or cut safetensors file ({_one_line(error)}): download or save it again"
        ) from error
    if not tensors:
        raise EffscopeError("it is a safetensors file without tensors: save it again")
    state, note = _without_prefix(tensors)
    return Checkpoint(path, "safetensors", state, source=f"safetensors file{note}", metadata=metadata)


def _read_zip(path: Path) -> Checkpoint:
    if not is_export(path):
        return _read_torch(path)
    with ExportArchive(path) as archive:
        return _named_tensors(path, "pt2", archive.state(), "torch.export archive")


def _read_onnx(path: Path) -> Checkpoint:
    state, note = read_onnx(path)
    return _named_tensors(path, "onnx", state, ", ".join(filter(None, ("ONNX graph", note))))


def _named_tensors(path: Path, kind: Kind, state: dict[str, torch.Tensor], source: str) -> Checkpoint:
    if not state:
        raise EffscopeError("it holds no weights: give the trained model")
    plain, note = _without_prefix(state)
    return Checkpoint(path, kind, plain, source=f"{source}{note}, read without running it")


def _read_torch(path: Path) -> Checkpoint:
    with TorchArchive(path) as archive:
        root = load_records(archive.pickle_bytes())
        if archive.is_script and isinstance(root, Record):
            state, modules = script_state(root, archive.tensor)
            made = _named_tensors(path, "torchscript", state, "TorchScript archive")
            return made if made.state.keys() != state.keys() else replace(made, modules=modules)
        reader = ModuleReader(archive.tensor)
        module, which = _find_module(root)
        if module is not None:
            return _from_module(path, reader, root, module, which)
        found = _find_state(root)
        if found is None:
            raise EffscopeError(f"it holds {_contents(root)}, no model and no state dict: give a weights file")
        tensors, left_out, where = found
        state, note = _without_prefix({name: archive.tensor(record) for name, record in tensors.items()})
    dropped = f", {left_out} entries that are not tensors left out" if left_out else ""
    return Checkpoint(
        path,
        "state_dict",
        state,
        class_names=_class_names(reader, _get(root, "names")),
        source=f"state dict{where}{note}{dropped}",
        metadata=_texts(_get(root, "effscope")),
    )


def _find_module(root: object) -> tuple[Record | None, str]:
    """The pickled model in a checkpoint, and what to call its weights."""
    candidates = [(_get(root, key), text) for key, text in MODULE_KEYS.items()]
    for value, text in (*candidates, (root, "whole model")):
        if is_module(value):
            return without_wrapper(value), text
    return None, ""


def _from_module(path: Path, reader: ModuleReader, root: object, module: Record, which: str) -> Checkpoint:
    state = reader.state(module)
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
    )


def _family(class_name: str) -> tuple[Kind, str]:
    for prefix, family in FAMILIES.items():
        if class_name.startswith(prefix):
            return family
    return "state_dict", f"torch module {shown(class_name)}"


def _find_state(root: object) -> tuple[dict[str, TensorRecord], int, str] | None:
    """The state dict in a checkpoint, the number of other entries in it, and where it was."""
    for key in STATE_KEYS:
        inner = _get(root, key)
        tensors, left_out = _tensors_of(inner)
        if tensors:
            return tensors, left_out, f" under '{key}'"
    tensors, left_out = _tensors_of(root)
    return (tensors, left_out, "") if len(tensors) > left_out else None


def _tensors_of(value: object) -> tuple[dict[str, TensorRecord], int]:
    """The named tensors of a dict, and how many other entries it has."""
    if not isinstance(value, dict):
        return {}, 0
    tensors = {
        name: tensor for name, tensor in value.items() if isinstance(name, str) and isinstance(tensor, TensorRecord)
    }
    return tensors, len(value) - len(tensors)


def _without_prefix(tensors: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Strip what wrappers put before every key; the second value says so for the user."""
    stripped = ""
    while True:
        prefix = next((text for text in WRAPPERS if all(key.startswith(text) for key in tensors)), "")
        if not prefix and all(key.startswith("model.model.") for key in tensors):
            prefix = "model."
        if not prefix:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        stripped += prefix
    return tensors, f", prefix '{stripped}' taken off its keys" if stripped else ""


def _class_names(reader: ModuleReader, value: object) -> tuple[str, ...] | None:
    """Class names by index from a list, or from a dict of index to name."""
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


READERS = {"torch_zip": _read_zip, "safetensors": _read_safetensors, "onnx": _read_onnx}
"""Kind of file by content -> how it is read."""


def _texts(value: object) -> dict[str, str]:
    """A dict of texts as it is, anything else as none."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(key, str) and isinstance(text, str)}


def _get(root: object, key: str) -> object:
    return root.get(key) if isinstance(root, dict) else None


def _contents(root: object) -> str:
    if isinstance(root, dict):
        keys = ", ".join(shown(str(key)) for key in list(root)[:8] if isinstance(key, str | int))
        return f"a dictionary with the keys {keys or '(none)'}"
    name = root.class_name if isinstance(root, Record) else type(root).__name__
    return f"a value of type {shown(name)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
