"""`Checkpoint`: a weights file as data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from effscope.checkpoint.layer_calls import LayerCall, following
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
        modules: The modules in tree order; of an ONNX graph its layers; empty if the file has tensors only.
        class_names: Names of the classes by index, or None if the file does not have them.
        own_yaml: The YAML that the model was built from, or None if the file does not have it as plain data.
        source: One line for the user: what was read.
        buffers: Keys of the tensors that are buffers, no parameters; None if the file does not tell.
        follows: Path of a norm -> path of the convolution that it follows; None if the file does not tell.
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
    follows: dict[str, str] | None = None
    others: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def from_tensors(
    path: Path,
    kind: Kind,
    tensors: dict[str, Tensor],
    source: str,
    buffers: Collection[str] | None = None,
    others: dict[str, Tensor] | None = None,
) -> Checkpoint:
    """A checkpoint of named tensors only, by their names in the model (see `tidy`).

    Args:
        path, kind, source: as in `Checkpoint`.
        tensors: by their names in the file.
        buffers: names of those that are buffers; None if the file does not tell.
        others: as in `Checkpoint`.

    Raises:
        EffscopeError: There are no tensors.
    """
    if not tensors and not others:
        runs = "; `effscope eval` runs an ONNX file as it is" if kind == "onnx" else ""
        raise EffscopeError(f"it holds no weights: give the trained model{runs}")
    state, note = tidy(tensors)
    held = None if buffers is None else {id(tensors[name]) for name in buffers}
    kept = None if held is None else frozenset(key for key, tensor in state.items() if id(tensor) in held)
    said = f"{source}{note}, read without running it"
    return Checkpoint(path, kind, state, source=said, buffers=kept, others=others or {})


def with_calls(
    found: Checkpoint,
    modules: tuple[ModuleRecord, ...],
    calls: Iterable[LayerCall],
    readers: Mapping[Any, int],
) -> Checkpoint:
    """The checkpoint with what the calls of its layers tell.

    Without a call for one of its norms, the calls are not complete, and do not tell what the norms follow.

    Args:
        found: the checkpoint, with the names of the file.
        modules: its modules.
        calls: the calls of its layers.
        readers: value -> how many times it is read.
    """
    calls = list(calls)
    norms = {key.removesuffix(".running_mean") for key in found.state if key.endswith(".running_mean")}
    complete = norms <= {call.path for call in calls}
    return replace(found, modules=modules, follows=following(calls, readers) if complete else None)
