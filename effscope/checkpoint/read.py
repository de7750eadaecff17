"""`read_checkpoint` reads weights files of all common formats without running code in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from safetensors import safe_open

from effscope.checkpoint.contents import Checkpoint, from_tensors, with_calls
from effscope.checkpoint.file_kind import file_kind
from effscope.checkpoint.formats.onnx import read_onnx
from effscope.checkpoint.formats.pt2 import ExportArchive, is_export
from effscope.checkpoint.formats.torch_zip import read_torch_zip
from effscope.checkpoint.layer_calls import COMPUTED, records
from effscope.checkpoint.parametrised import put_together
from effscope.checkpoint.pickled.policy import shown
from effscope.checkpoint.tidy import tidy
from effscope.errors import EffscopeError, first_line

REASON_LENGTH = 120


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file: Ultralytics, YOLOv5, any pickled torch module, state dict, safetensors, TorchScript,
    torch.export or ONNX.

    It imports and runs nothing that the file names.

    Args:
        path: The file. Its content determines the format, not its name.

    Returns:
        The checkpoint. If the file has averaged and plain weights, it has the averaged ones, as in Ultralytics.

    Raises:
        EffscopeError: The file cannot be read; the message says what it is and what to do.
    """
    file = Path(path)
    try:
        return _whole(READERS[file_kind(file)](file))
    except EffscopeError as error:
        raise EffscopeError(f"{file}: {error}") from error
    except OSError as error:
        raise EffscopeError(f"{file}: cannot be read ({error.strerror}): check the file") from error
    except MemoryError as error:
        raise EffscopeError(f"{file}: does not fit in memory: use a larger machine") from error


def _whole(found: Checkpoint) -> Checkpoint:
    """The checkpoint with whole weights in place of their parts (see `parametrised`)."""
    state, made, note = put_together(found.state)
    if not note:
        return found
    buffers = None if found.buffers is None else found.buffers & state.keys()
    modules = tuple(module.without(COMPUTED) if f"{module.path}.weight" in made else module for module in found.modules)
    return replace(found, state=state, modules=modules, source=f"{found.source}{note}", buffers=buffers)


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    except Exception as error:  # SafetensorError, and torch's errors for unknown dtypes
        reason = shown(first_line(error)[:REASON_LENGTH])[1:-1]
        raise EffscopeError(f"it is a damaged or cut safetensors file ({reason}): download or save it again") from error
    if not tensors:
        raise EffscopeError("it is a safetensors file without tensors: save it again")
    state, note = tidy(tensors)
    return Checkpoint(path, "safetensors", state, source=f"safetensors file{note}", metadata=metadata)


def _read_zip(path: Path) -> Checkpoint:
    if not is_export(path):
        return read_torch_zip(path)
    with ExportArchive(path) as archive:
        tensors, buffers = archive.state()
        calls, readers = archive.calls()
    found = from_tensors(path, "pt2", tensors, "torch.export archive", buffers)
    if not calls or found.state.keys() != tensors.keys():
        return found
    used = [key for key in tensors if readers[key]]
    return with_calls(found, records(calls, used), calls, readers)


def _read_onnx(path: Path) -> Checkpoint:
    graph = read_onnx(path)
    said = ", ".join(filter(None, ("ONNX graph", graph.note)))
    found = from_tensors(path, "onnx", graph.state, said, others=graph.others)
    if found.state.keys() != graph.state.keys():
        return found
    return with_calls(found, records(graph.calls, {**graph.state, **graph.others}), graph.calls, graph.readers)


READERS = {"torch_zip": _read_zip, "safetensors": _read_safetensors, "onnx": _read_onnx}
"""Kind of file -> its reader."""
