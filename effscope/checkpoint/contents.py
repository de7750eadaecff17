"""`Checkpoint`: a weights file as data."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from effscope.checkpoint.pickled.module_tree import ModuleRecord, Plain
from effscope.checkpoint.tidy import tidy
from effscope.errors import EffscopeError

Kind = Literal["ultralytics", "yolov5", "state_dict", "safetensors", "torchscript", "pt2", "onnx"]


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
        modules: The modules in tree order; of an ONNX graph its convolutions; empty if the file has tensors only.
        class_names: Names of the classes by index, or None if the file does not have them.
        own_yaml: The YAML that the model was built from, or None if the file does not have it as plain data.
        source: One line for the user: what was read.
        buffers: Keys of the tensors that are buffers, no parameters; None if the file does not tell.
        others: Further weights of an ONNX graph, which no layer that is known here owns; by the names of the graph.
        metadata: Strings of a safetensors header, or of a .pt file by effscope; else empty.
    """

    path: Path
    kind: Kind
    state: dict[str, Tensor]
    modules: tuple[ModuleRecord, ...] = ()
    class_names: tuple[str, ...] | None = None
    own_yaml: dict[Plain, Plain] | None = None
    source: str = ""
    buffers: frozenset[str] | None = None
    others: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def from_tensors(
    path: Path, kind: Kind, tensors: dict[str, Tensor], source: str, buffers: Collection[str] | None = None
) -> Checkpoint:
    """A checkpoint of named tensors only, by their names in the model (see `tidy`).

    Args:
        path, kind, source: as in `Checkpoint`.
        tensors: by their names in the file.
        buffers: names of those that are buffers; None if the file does not tell.

    Raises:
        EffscopeError: There are no tensors.
    """
    if not tensors:
        runs = "; `effscope eval` runs an ONNX file as it is" if kind == "onnx" else ""
        raise EffscopeError(f"it holds no weights: give the trained model{runs}")
    state, note = tidy(tensors)
    held = None if buffers is None else {id(tensors[name]) for name in buffers}
    kept = None if held is None else frozenset(key for key, tensor in state.items() if id(tensor) in held)
    return Checkpoint(path, kind, state, source=f"{source}{note}, read without running it", buffers=kept)
