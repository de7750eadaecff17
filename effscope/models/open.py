"""What MODEL means on the command line: a zoo name, a layout YAML, a weights file, or a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, outline
from effscope.layouts.zoo.catalog import ALIASES, ZOO
from effscope.layouts.zoo.catalog import layout as built_in
from effscope.spec.graph import Graph, image_shape
from effscope.spec.layout import Layout
from effscope.spec.outline import Outline

if TYPE_CHECKING:
    from torch.nn import Module

    from effscope.nn.build import Network

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
RUN_WEIGHTS = "model.safetensors"
HUB_NAMES = ("torchvision", "timm")
USUAL_SIZE = 640
LAYOUT_KEY, CLASSES_KEY, IMGSZ_KEY = "effscope.layout", "effscope.classes", "effscope.imgsz"


@dataclass(frozen=True)
class Model:
    """An opened MODEL.

    Attributes:
        name: for tables.
        architecture: its layout, or None if only a graph of it is known.
        state: state dict, or None if it came without weights.
        classes: class names, or None if the file does not say.
        source: one line: what was read and how.
        imgsz: side in px it was trained at, or None if the file does not say.
        traced: graph and outline of a model that is no layout; without views where only tensors are known.
        module: the torch module of an imported model.
        constants: tensors its trace reads that no state dict holds.
        why: why there is no layout.
    """

    name: str
    architecture: Layout | None
    state: Mapping[str, Any] | None = field(default=None, repr=False)
    classes: tuple[str, ...] | None = None
    source: str = ""
    imgsz: int | None = None
    traced: tuple[Graph, Outline] | None = field(default=None, repr=False)
    module: Module | None = field(default=None, repr=False)
    constants: Mapping[str, Any] = field(default_factory=dict, repr=False)
    why: str = ""

    @property
    def layout(self) -> Layout:
        """The layout. Raises EffscopeError if there is none: the model can be counted and ranked only."""
        if self.architecture is None:
            raise EffscopeError(f"{self.name} can be counted and ranked only: {self.why}")
        return self.architecture

    @property
    def graph(self) -> Graph:
        """What is counted and ranked."""
        return self.traced[0] if self.traced else expand(self.layout)

    @property
    def outline(self) -> Outline:
        """How the parts of the graph are called."""
        return self.traced[1] if self.traced else outline(self.layout)

    def network(self, seed: int = 0) -> Network:
        """The built network with its weights, or fresh ones from the seed.

        Raises:
            EffscopeError: no layout, or a tensor is missing or has another shape.
        """
        from effscope.nn.build import build  # noqa: PLC0415 - torch only when it is needed
        from effscope.nn.inherit import load_state  # noqa: PLC0415

        network = build(expand(self.layout), seed)
        if self.state is not None:
            load_state(network, self.state, self.name)
        return network


def _missing(model: str) -> EffscopeError:
    near = get_close_matches(model, ZOO, n=4, cutoff=0.5)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return EffscopeError(
        f"'{model}' is no file here and no built-in model: give a weights file, a layout YAML, a run folder, "
        f"torchvision:NAME, timm:NAME, or a name that `effscope zoo` lists{meant}"
    )


def open_layout(model: str | Module, imgsz: int | None = None) -> Model:
    """A MODEL's architecture; reads weights only when the architecture is in their file.

    Args:
        model: what the commands take, or a torch module.
        imgsz: side in px a foreign module is traced at.

    Raises:
        EffscopeError: no such model, or a file that is not one.
    """
    if isinstance(model, PathLike):
        model = fspath(model)
    if not isinstance(model, str):
        return _of_module(model, imgsz or USUAL_SIZE)
    if model.partition(":")[0] in HUB_NAMES:
        return _of_hub(model, imgsz)
    path = Path(model)
    if model in ZOO or model in ALIASES:
        return Model(model, built_in(model), source="built in, untrained weights")
    if not path.exists():
        raise _missing(model)
    if path.suffix.lower() in YAML_SUFFIXES:
        from effscope.layouts.ultralytics_yaml.layout_yaml import open_yaml  # noqa: PLC0415 - imports yaml

        read = open_yaml(path)
        return Model(read.layout.name, read.layout, source=f"layout {path.name} ({read.note}), untrained weights")
    return open_model(model)


def _of_hub(model: str, imgsz: int | None) -> Model:
    from effscope.models.hubs import open_hub  # noqa: PLC0415 - imports torch

    opened = open_hub(model, imgsz)
    notes = (opened.note,) if opened.note else ()
    traced = (opened.imported.graph, replace(opened.imported.outline, notes=(*opened.imported.outline.notes, *notes)))
    source = ", ".join((f"{model}, untrained weights, traced at {opened.imgsz} px", *notes))
    return Model(
        model.partition(":")[2], None, source=source, imgsz=opened.imgsz, traced=traced, module=opened.module,
        constants=opened.imported.constants, why="it is traced, not built from blocks",
    )  # fmt: skip


def _of_module(module: Module, imgsz: int) -> Model:
    from torch import nn  # noqa: PLC0415

    from effscope.tracing.importer import import_module  # noqa: PLC0415

    if not isinstance(module, nn.Module):
        raise EffscopeError(f"a model is a name, a file or a torch module, not {module!r}")
    name = type(module).__name__
    imported = import_module(module, image_shape(imgsz), name)
    source = f"the module {name}, traced at {imgsz} px"
    return Model(
        name, None, module.state_dict(), source=source, imgsz=imgsz, traced=(imported.graph, imported.outline),
        module=module, constants=imported.constants, why="it is traced, not built from blocks",
    )  # fmt: skip


def open_model(model: str | Module, imgsz: int | None = None) -> Model:
    """A MODEL with its weights if it has any. Weights files are read without running what is in them.

    Raises:
        EffscopeError: no such model, a file that is not one, or weights of an architecture effscope cannot name.
    """
    if isinstance(model, PathLike):
        model = fspath(model)
    if not isinstance(model, str) or model.partition(":")[0] in HUB_NAMES:
        return open_layout(model, imgsz)
    path = Path(model)
    if model in ZOO or model in ALIASES or not path.exists() or path.suffix.lower() in YAML_SUFFIXES:
        return open_layout(model)
    if path.is_dir():
        if not (path / RUN_WEIGHTS).exists():
            raise EffscopeError(f"{model} is a folder without {RUN_WEIGHTS}: give a folder an effscope run wrote")
        path = path / RUN_WEIGHTS
    return _opened(path, Path(model).name if Path(model).is_dir() else path.stem)


def _opened(path: Path, name: str) -> Model:
    """A weights file: with its layout where that is told by its own text, by its module tree, or by its tensors."""
    from effscope.checkpoint.identify.by_tensors import identify  # noqa: PLC0415
    from effscope.checkpoint.identify.tensors_only import bare_graph, bare_outline  # noqa: PLC0415 - imports torch
    from effscope.checkpoint.read import read_checkpoint  # noqa: PLC0415

    checkpoint = read_checkpoint(path)
    classes, imgsz = checkpoint.class_names, None
    if LAYOUT_KEY in checkpoint.metadata:
        known = Layout.from_dict(json.loads(checkpoint.metadata[LAYOUT_KEY]))
        classes = tuple(json.loads(checkpoint.metadata.get(CLASSES_KEY, "null")) or ()) or None
        imgsz = int(checkpoint.metadata.get(IMGSZ_KEY, "0")) or None
        return Model(name, known, checkpoint.state, classes, _source(known, checkpoint.source), imgsz)
    found = identify(checkpoint)
    if found.layout is not None:
        source = _source(found.layout, checkpoint.source)
        return Model(name, found.layout, found.state, classes, source, imgsz)
    graph = bare_graph(checkpoint.state, checkpoint.modules)
    traced = (graph, bare_outline(name, graph, checkpoint.modules))
    source = f"{checkpoint.source}; architecture not known: {found.why}"
    return Model(name, None, checkpoint.state, classes, source, traced=traced, why=found.why)


def _source(layout: Layout, source: str) -> str:
    return f"{layout.name}, {layout.nc} classes; {source}"


def metadata(layout: Layout, classes: tuple[str, ...] | None, imgsz: int) -> dict[str, str]:
    """What a weights file of ours says about itself, so that it opens without a second file."""
    return {
        "format": "pt",
        LAYOUT_KEY: json.dumps(layout.to_dict()),
        CLASSES_KEY: json.dumps(list(classes) if classes else None),
        IMGSZ_KEY: str(imgsz),
    }
