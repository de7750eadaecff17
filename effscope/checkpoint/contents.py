"""`Checkpoint`: a weights file as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from effscope.checkpoint.pickled.module_tree import ModuleRecord, Plain
from effscope.errors import EffscopeError

Kind = Literal["ultralytics", "yolov5", "state_dict", "safetensors", "torchscript", "pt2", "onnx"]

WRAPPERS = ("module.", "_orig_mod.", "network.")
"""Prefixes of keys by DataParallel, torch.compile and common training code."""


@dataclass(frozen=True)
class Checkpoint:
    """A weights file as data.

    Attributes:
        path: The file.
        kind: "ultralytics" (a pickled module of that package), "yolov5" (a pickled `models.yolo` module),
            "state_dict" (names and tensors, or any other pickled module), "safetensors", "torchscript",
            "pt2" (torch.export), "onnx".
        state: Tensors by state-dict key, e.g. `model.0.conv.weight`; on the CPU, in the dtype of the file. The
            values are not checked.
        modules: The modules in tree order; empty if the file has tensors only.
        class_names: Names of the classes by index, or None if the file does not have them.
        own_yaml: The YAML that the model was built from, or None if the file does not have it as plain data.
        source: One line for the user: what was read.
        metadata: Strings of a safetensors header, or of a .pt file by effscope; else empty.
    """

    path: Path
    kind: Kind
    state: dict[str, Tensor]
    modules: tuple[ModuleRecord, ...] = ()
    class_names: tuple[str, ...] | None = None
    own_yaml: dict[Plain, Plain] | None = None
    source: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


def from_tensors(path: Path, kind: Kind, tensors: dict[str, Tensor], source: str) -> Checkpoint:
    """A checkpoint of named tensors only, without the prefixes of wrappers.

    Raises:
        EffscopeError: There are no tensors.
    """
    if not tensors:
        raise EffscopeError("it holds no weights: give the trained model")
    state, note = without_prefix(tensors)
    return Checkpoint(path, kind, state, source=f"{source}{note}, read without running it")


def without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without the prefixes that all keys share, and a note for the user on the removed prefixes."""
    removed = ""
    while True:
        prefix = next((text for text in WRAPPERS if all(key.startswith(text) for key in tensors)), "")
        if not prefix and all(key.startswith("model.model.") for key in tensors):
            prefix = "model."
        if not prefix:
            break
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
        removed += prefix
    return tensors, f", prefix '{removed}' removed from its keys" if removed else ""
