"""A checkpoint that `ultralytics.YOLO(...)` opens, written without that package.

The pickle holds no module. It asks the reader's own Ultralytics to build a `DetectionModel` from the layout and to load
the tensors into it, so it does not depend on how any version of that package pickles its classes.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor

from effscope.files import write_bytes
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.models.file_metadata import metadata
from effscope.spec.layout import Layout

PROTOCOL = 4
IMAGE_CHANNELS = 3


class Named:
    """A class or function by its name: it is written as that name and exists here as nothing else."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Never called: pickle only asks whether it could be."""


class Called:
    """What the reader gets by calling something named, with attributes set on it afterwards."""

    def __init__(self, function: Named, args: tuple[Any, ...], attributes: Mapping[str, Any] | None = None):
        self.parts = (function, args, dict(attributes)) if attributes else (function, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):  # type: ignore[misc]
    """Python's own pickler that writes a `Named` as the global it names."""

    dispatch: ClassVar[dict[type, Any]] = dict(_PythonPickler.dispatch)

    def save_named(self, named: Named) -> None:
        self.save(named.module)
        self.save(named.name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(named)

    dispatch[Named] = save_named


MODEL = Named("ultralytics.nn.tasks", "DetectionModel")
LOAD = Named("torch.nn.modules.module", "Module.load_state_dict")


def write_ultralytics(
    path: Path, layout: Layout, state: Mapping[str, Tensor], classes: tuple[str, ...], imgsz: int
) -> None:
    """Write the checkpoint, whole or not at all; `read_checkpoint` reads it too.

    Args:
        path: the file.
        layout: what YAML can spell.
        state: its tensors, float32.
        classes: class names.
        imgsz: side in px that Ultralytics takes as its default.

    Raises:
        EffscopeError: the layout cannot be spelled as YAML, or the file cannot be written.
    """
    description = {
        **yaml.safe_load(to_yaml(layout)), "nc": layout.nc, "ch": IMAGE_CHANNELS, "scale": layout.scale.name or "n",
        "yaml_file": f"{path.stem}.yaml",
    }  # fmt: skip
    names = dict(enumerate(classes))
    tensors = {key: value.detach().cpu().clone() for key, value in state.items()}
    model = Called(MODEL, (description, IMAGE_CHANNELS, layout.nc, False), {"names": names})
    checkpoint = {
        "epoch": -1, "best_fitness": None, "ema": None, "updates": None, "optimizer": None,
        "model": model,
        "state_dict": tensors,
        "loaded": Called(LOAD, (model, tensors)),
        "names": names,
        "effscope": metadata(layout, classes, imgsz),
        "train_args": {"task": "detect", "imgsz": imgsz, "model": f"{path.stem}.yaml"},
        "version": "effscope",
    }  # fmt: skip
    stream = BytesIO()
    torch.save(
        checkpoint, stream, pickle_module=SimpleNamespace(Pickler=_Pickler, __name__="pickle"), pickle_protocol=PROTOCOL
    )
    write_bytes(path, stream.getvalue())
