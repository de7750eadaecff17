"""`open_model`: a zoo name, a layout YAML, a weights file, a run folder, a hub's model or a torch module."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.config.image_size import IMAGE_CHANNELS, ImageSize, size_words
from effscope.errors import EffscopeError, counted
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import read_metadata
from effscope.models.naming import find_model
from effscope.models.opened import LayoutModel, Model, TensorFile, TracedModel
from effscope.workspace import RUN_WEIGHTS

if TYPE_CHECKING:
    from torch.nn import Module

IMAGE_DIMS, RECTANGLE = 4, 2
OF_GRAPH = "an ONNX graph can have norms folded and equal tensors merged: then its counts are below those of its model"
USUAL_SIZE = 640
"""Default side of the image in px."""


def open_model(model: str | PathLike[str] | Module, imgsz: ImageSize | None = None, inputs: Any = None) -> Model:
    """Open a model, with its weights if it has any. Reading a weights file runs no code in it.

    Args:
        model: zoo name, path of a layout YAML, weights file or run folder, `torchvision:NAME`, `timm:NAME`, or a torch
            module. Zoo names and layout YAML import no torch. `yolov8n.yaml` or `yolov8n.pt` without such a file is the
            built-in layout, without weights.
        imgsz: size of the image, to trace a hub's model or a module; default: native size, 640 for a module. A whole
            shape also gives a built-in model or YAML its channels.
        inputs: arguments of a module or a hub's model, instead of one image: a tensor, a tuple of arguments, or a dict
            of arguments by name.

    Returns:
        A `LayoutModel`; a `TracedModel` for hubs and modules; a `TensorFile` for weights of an unknown architecture.

    Raises:
        EffscopeError: no such model, a file without a model, a module that cannot be traced, or channels that the
            model does not take.
    """
    opened = _opened(model, imgsz, inputs)
    if isinstance(opened, TracedModel):
        return opened
    if inputs is not None:
        raise EffscopeError(f"{opened.name}: `inputs` are for torch modules and hub models; give `imgsz` here")
    return _with_channels(opened, imgsz) if isinstance(opened, LayoutModel) else opened


def _with_channels(model: LayoutModel, imgsz: ImageSize | None) -> LayoutModel:
    """The model for images of that many channels, if the size is a whole shape."""
    if imgsz is None or isinstance(imgsz, int) or len(imgsz) == RECTANGLE:
        return model
    if len(imgsz) != IMAGE_DIMS:
        raise EffscopeError(f"{model.name} takes images, (batch, channels, height, width): not {size_words(imgsz)}")
    own = model.layout.ch
    if imgsz[1] != own and (model.state is not None or own != IMAGE_CHANNELS):
        raise EffscopeError(f"{model.name} is for images with {own} channels, not {imgsz[1]}: give 1x{own}xHxW")
    return replace(model, layout=replace(model.layout, ch=imgsz[1]))


def _opened(model: str | PathLike[str] | Module, imgsz: ImageSize | None, inputs: Any) -> Model:
    if isinstance(model, PathLike):
        model = fspath(model)
    if not isinstance(model, str):
        return _of_module(model, imgsz or USUAL_SIZE, inputs)
    found = find_model(model)
    if found.kind == "hub":
        return _of_hub(model, imgsz, inputs)
    if found.kind == "built in":
        source = f"{found.assumed or 'built in'}, untrained weights"
        notes = (found.assumed,) if found.assumed else ()
        return LayoutModel(found.name, layout(found.name), source=source, notes=notes)
    path = Path(model)
    if found.kind == "yaml":
        return _of_yaml(path)
    return _of_weights(path / RUN_WEIGHTS, path.name) if found.kind == "run" else _of_weights(path, path.stem)


def _of_yaml(path: Path) -> LayoutModel:
    from effscope.layouts.ultralytics_yaml.layout_yaml import open_yaml  # noqa: PLC0415 - imports yaml

    read = open_yaml(path)
    return LayoutModel(read.layout.name, read.layout, source=f"layout {path.name} ({read.note}), untrained weights")


def _of_hub(model: str, imgsz: ImageSize | None, inputs: Any) -> TracedModel:
    from effscope.models.hubs import open_hub  # noqa: PLC0415 - imports torch

    opened = open_hub(model, imgsz, inputs)
    notes = (opened.note,) if opened.note else ()
    rows = opened.imported.outline
    imported = replace(opened.imported, outline=replace(rows, notes=(*rows.notes, *notes)))
    source = ", ".join((f"{model}, untrained weights, traced at {size_words(opened.imgsz)}", *notes))
    name = model.partition(":")[2]
    return TracedModel(name, opened.module, imported, opened.imgsz, opened.shape, source=source, inputs=opened.inputs)


def _of_module(module: Module, imgsz: ImageSize, inputs: Any) -> TracedModel:
    from torch import nn  # noqa: PLC0415

    from effscope.tracing.importer import import_module  # noqa: PLC0415
    from effscope.tracing.inputs import asked_inputs, is_lazy_module, materialised  # noqa: PLC0415

    if not isinstance(module, nn.Module):
        raise EffscopeError(f"a model is a name, a file or a torch module, not {module!r}")
    name = type(module).__name__
    asked = asked_inputs(module, imgsz, inputs)
    if is_lazy_module(module):
        module = materialised(module, asked.inputs, name)
        state, weights = None, ", its lazy layers with random weights"
    else:
        state, weights = module.state_dict(), ""
    imported = import_module(module, asked.shape, name, asked.inputs)
    source = f"the module {name}{weights}, traced at {size_words(asked.size)}"
    return TracedModel(name, module, imported, asked.size, asked.shape, state, source, inputs=asked.given)


def _of_weights(path: Path, name: str) -> LayoutModel | TensorFile:
    """A weights file. Its layout comes from its metadata, else from its module tree, else from its tensors."""
    from effscope.checkpoint.identify.by_tensors import identify  # noqa: PLC0415
    from effscope.checkpoint.identify.tensors_only import (  # noqa: PLC0415 - imports torch
        rank_notes,
        tensor_graph,
        tensor_outline,
    )
    from effscope.checkpoint.read import read_checkpoint  # noqa: PLC0415

    checkpoint = read_checkpoint(path)
    said = read_metadata(checkpoint.metadata)
    if said is not None:
        source = _source(said.layout.name, said.layout.nc, checkpoint.source)
        return LayoutModel(name, said.layout, checkpoint.state, said.classes, source, said.imgsz)
    found = identify(checkpoint)
    if found.layout is not None:
        source = _source(found.layout.name, found.layout.nc, checkpoint.source)
        return LayoutModel(name, found.layout, found.state, checkpoint.class_names, source)
    state = {**checkpoint.state, **checkpoint.others}
    graph = tensor_graph(state, checkpoint.modules, checkpoint.buffers, checkpoint.follows)
    rows = tensor_outline(name, graph, checkpoint.modules, checkpoint.buffers)
    if checkpoint.kind == "onnx":
        rows = replace(rows, notes=(*rows.notes, OF_GRAPH))
    source = f"{checkpoint.source}; unknown architecture: {found.why}"
    notes = rank_notes(graph, checkpoint.modules, checkpoint.follows)
    return TensorFile(name, state, graph, rows, found.why, checkpoint.class_names, source, rank_notes=notes)


def _source(name: str, nc: int, source: str) -> str:
    return f"{name}, {counted(nc, 'class', 'classes')}; {source}"
