"""What MODEL means on the command line: a zoo name, a layout YAML, a weights file, or a run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.errors import EffscopeError
from effscope.families.catalog import ZOO
from effscope.layout_yaml import read_yaml
from effscope.spec.layout import Layout

if TYPE_CHECKING:
    from effscope.nn.build import Network

YAML_SUFFIXES = frozenset({".yaml", ".yml"})
RUN_WEIGHTS = "model.safetensors"
LAYOUT_KEY, CLASSES_KEY, IMGSZ_KEY = "effscope.layout", "effscope.classes", "effscope.imgsz"


@dataclass(frozen=True)
class Model:
    """An opened MODEL.

    Attributes:
        name: for tables.
        layout: its architecture.
        state: state dict, or None if it came without weights.
        classes: class names, or None if the file does not say.
        source: one line: what was read and how.
        imgsz: side in px it was trained at, or None if the file does not say.
    """

    name: str
    layout: Layout
    state: Mapping[str, Any] | None = field(default=None, repr=False)
    classes: tuple[str, ...] | None = None
    source: str = ""
    imgsz: int | None = None

    def network(self, seed: int = 0) -> Network:
        """The built network with its weights, or fresh ones from the seed.

        Raises:
            EffscopeError: a tensor is missing or has another shape.
        """
        from effscope.expand import expand  # noqa: PLC0415 - torch only when it is needed
        from effscope.nn.build import build  # noqa: PLC0415
        from effscope.nn.inherit import load_state  # noqa: PLC0415

        network = build(expand(self.layout), seed)
        if self.state is not None:
            load_state(network, self.state, self.name)
        return network


def _missing(model: str) -> EffscopeError:
    return EffscopeError(
        f"'{model}' is no file here and no built-in model: give a weights file, a layout YAML, a run folder, "
        f"or one of {', '.join(ZOO)}"
    )


def open_layout(model: str) -> Model:
    """A MODEL's architecture; reads weights only when the architecture is in their file.

    Raises:
        EffscopeError: no such model, or a file that is not one.
    """
    path = Path(model)
    if model in ZOO:
        return Model(model, ZOO[model](80), source="built in, untrained weights")
    if not path.exists():
        raise _missing(model)
    if path.suffix.lower() in YAML_SUFFIXES:
        layout = read_yaml(path)
        return Model(layout.name, layout, source=f"layout {path.name}, untrained weights")
    return open_model(model)


def open_model(model: str) -> Model:
    """A MODEL with its weights if it has any. Weights files are read without running what is in them.

    Raises:
        EffscopeError: no such model, a file that is not one, or weights of an architecture effscope cannot name.
    """
    path = Path(model)
    if model in ZOO or not path.exists() or path.suffix.lower() in YAML_SUFFIXES:
        return open_layout(model)
    if path.is_dir():
        if not (path / RUN_WEIGHTS).exists():
            raise EffscopeError(f"{model} is a folder without {RUN_WEIGHTS}: give a folder an effscope run wrote")
        path = path / RUN_WEIGHTS
    from effscope.checkpoint.read import read_checkpoint  # noqa: PLC0415 - imports torch
    from effscope.checkpoint.recognise import recognise  # noqa: PLC0415

    checkpoint = read_checkpoint(path)
    classes, imgsz = checkpoint.class_names, None
    if LAYOUT_KEY in checkpoint.metadata:
        layout: Layout | None = Layout.from_dict(json.loads(checkpoint.metadata[LAYOUT_KEY]))
        classes = tuple(json.loads(checkpoint.metadata.get(CLASSES_KEY, "null")) or ()) or None
        imgsz = int(checkpoint.metadata.get(IMGSZ_KEY, "0")) or None
    else:
        layout = recognise(checkpoint.state)
    if layout is None:
        raise EffscopeError(
            f"{path}: its tensors fit no architecture effscope can build yet (known: {', '.join(ZOO)} and their "
            "CIB, SCDown and light-head forms)"
        )
    name = Path(model).name if Path(model).is_dir() else path.stem
    source = f"{layout.name}, {layout.nc} classes; {checkpoint.source}"
    return Model(name, layout, checkpoint.state, classes, source, imgsz)


def metadata(layout: Layout, classes: tuple[str, ...] | None, imgsz: int) -> dict[str, str]:
    """What a weights file of ours says about itself, so that it opens without a second file."""
    return {
        "format": "pt",
        LAYOUT_KEY: json.dumps(layout.to_dict()),
        CLASSES_KEY: json.dumps(list(classes) if classes else None),
        IMGSZ_KEY: str(imgsz),
    }
