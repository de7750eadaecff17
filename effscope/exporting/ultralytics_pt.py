"""A checkpoint that `ultralytics.YOLO(...)` opens, written without that package.

The pickle holds no module. When it is opened, the installed Ultralytics builds a `DetectionModel` from the layout and
loads the tensors. So the file does not depend on the version of that package.
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


class GlobalName:
    """A class or function of another package. Only its name is written to the pickle."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name

    def __call__(self) -> None:
        """Never called: pickle only checks that it is callable."""


class PickledCall:
    """The result of a call when the pickle is opened, with attributes set on it afterwards."""

    def __init__(self, function: GlobalName, args: tuple[Any, ...], attributes: Mapping[str, Any] | None = None):
        self.parts = (function, args, dict(attributes)) if attributes else (function, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


_PythonPickler: Any = pickle._Pickler


class _Pickler(_PythonPickler):  # type: ignore[misc]
    """Python's own pickler that writes a `GlobalName` as a global."""

    dispatch: ClassVar[dict[type, Any]] = dict(_PythonPickler.dispatch)

    def save_global_name(self, found: GlobalName) -> None:
        self.save(found.module)
        self.save(found.name)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(found)

    dispatch[GlobalName] = save_global_name


MODEL = GlobalName("ultralytics.nn.tasks", "DetectionModel")
LOAD = GlobalName("torch.nn.modules.module", "Module.load_state_dict")


def write_ultralytics(
    path: Path, layout: Layout, state: Mapping[str, Tensor], classes: tuple[str, ...], imgsz: int
) -> None:
    """Write the checkpoint. `read_checkpoint` can read it too.

    Args:
        path: the file.
        layout: one that Ultralytics YAML can express.
        state: its tensors, float32.
        classes: class names.
        imgsz: side in px, the default of Ultralytics for this model.

    Raises:
        EffscopeError: YAML cannot express the layout, or the file cannot be written.
    """
    description = {
        **yaml.safe_load(to_yaml(layout)), "nc": layout.nc, "ch": layout.ch, "scale": layout.scale.name or "n",
        "yaml_file": f"{path.stem}.yaml",
    }  # fmt: skip
    names = dict(enumerate(classes))
    tensors = {key: value.detach().cpu().clone() for key, value in state.items()}
    model = PickledCall(MODEL, (description, layout.ch, layout.nc, False), {"names": names})
    checkpoint = {
        "epoch": -1, "best_fitness": None, "ema": None, "updates": None, "optimizer": None,
        "model": model,
        "state_dict": tensors,
        "loaded": PickledCall(LOAD, (model, tensors)),
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
