"""`open_model`: a zoo name, a layout YAML, a weights file, a run folder, a hub's model or a torch module."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.errors import EffscopeError
from effscope.layouts.zoo.catalog import ALIASES, ZOO, layout
from effscope.models.file_metadata import read_metadata
from effscope.models.opened import LayoutModel, Model, TensorFile, TracedModel
from effscope.spec.graph import image_shape
from effscope.workspace import RUN_WEIGHTS

if TYPE_CHECKING:
    from torch.nn import Module

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
HUB_NAMES = ("torchvision", "timm")
OF_GRAPH = "an ONNX graph may hold norms folded and equal tensors merged: then it counts less than the model it is from"
USUAL_SIZE = 640
"""Default side of the image in px."""


def open_model(model: str | PathLike[str] | Module, imgsz: int | None = None) -> Model:
    """Open a model, with its weights if it has any. Reading a weights file runs no code in it.

    Args:
        model: zoo name, path of a layout YAML, weights file or run folder, `torchvision:NAME`, `timm:NAME`, or a torch
            module. Zoo names and layout YAML import no torch.
        imgsz: side of the image in px, to trace a hub's model or a module; default: native size, 640 for a module.

    Returns:
        A `LayoutModel`; a `TracedModel` for hubs and modules; a `TensorFile` for weights of an unknown architecture.

    Raises:
        EffscopeError: no such model, a file without a model, or a module that cannot be traced.
    """
    if isinstance(model, PathLike):
        model = fspath(model)
    if not isinstance(model, str):
        return _of_module(model, imgsz or USUAL_SIZE)
    if model.partition(":")[0] in HUB_NAMES:
        return _of_hub(model, imgsz)
    if model in ZOO or model in ALIASES:
        return LayoutModel(model, layout(model), source="built in, untrained weights")
    path = Path(model)
    if not path.exists():
        raise _missing(model)
    if path.suffix.lower() in YAML_SUFFIXES:
        return _of_yaml(path)
    if not path.is_dir():
        return _of_weights(path, path.stem)
    if not (path / RUN_WEIGHTS).exists():
        raise EffscopeError(f"{model} is a folder without {RUN_WEIGHTS}: give the folder of an effscope run")
    return _of_weights(path / RUN_WEIGHTS, path.name)


def _missing(model: str) -> EffscopeError:
    near = get_close_matches(model, ZOO, n=4, cutoff=0.5)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return EffscopeError(
        f"'{model}' is neither a file nor a built-in model: give a weights file, a layout YAML, a run folder, "
        f"torchvision:NAME, timm:NAME, or a name that `effscope zoo` lists{meant}"
    )


def _of_yaml(path: Path) -> LayoutModel:
    from effscope.layouts.ultralytics_yaml.layout_yaml import open_yaml  # noqa: PLC0415 - imports yaml

    read = open_yaml(path)
    return LayoutModel(read.layout.name, read.layout, source=f"layout {path.name} ({read.note}), untrained weights")


def _of_hub(model: str, imgsz: int | None) -> TracedModel:
    from effscope.models.hubs import open_hub  # noqa: PLC0415 - imports torch

    opened = open_hub(model, imgsz)
    notes = (opened.note,) if opened.note else ()
    rows = opened.imported.outline
    imported = replace(opened.imported, outline=replace(rows, notes=(*rows.notes, *notes)))
    source = ", ".join((f"{model}, untrained weights, traced at {opened.imgsz} px", *notes))
    return TracedModel(model.partition(":")[2], opened.module, imported, opened.imgsz, source=source)


def _of_module(module: Module, imgsz: int) -> TracedModel:
    from torch import nn  # noqa: PLC0415

    from effscope.tracing.importer import import_module  # noqa: PLC0415

    if not isinstance(module, nn.Module):
        raise EffscopeError(f"a model is a name, a file or a torch module, not {module!r}")
    name = type(module).__name__
    imported = import_module(module, image_shape(imgsz), name)
    source = f"the module {name}, traced at {imgsz} px"
    return TracedModel(name, module, imported, imgsz, module.state_dict(), source)


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
    return f"{name}, {nc} classes; {source}"
