"""The forms a model can be handed on in: one line a format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from effscope.checkpoint.write import write_safetensors, write_state_dict
from effscope.config import ExportConfig
from effscope.errors import EffscopeError, unknown
from effscope.exporting.onnx_graph import write_onnx
from effscope.exporting.ultralytics_pt import write_ultralytics
from effscope.files import make_folder, write_text
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.models.file_metadata import metadata
from effscope.models.open import USUAL_SIZE
from effscope.models.opened import Model
from effscope.nn.build import Network
from effscope.results import ExportResult, origin


@dataclass(frozen=True)
class Handover:
    """A model about to be written: its network in eval mode, its class names, the side in px it is made for."""

    model: Model
    network: Network
    classes: tuple[str, ...]
    imgsz: int
    folder: Path
    notes: list[str] = field(default_factory=list)

    def path(self, ending: str) -> Path:
        """A file of this model: its name and an ending."""
        return self.folder / f"{self.model.name}{ending}"


def _yaml(h: Handover) -> dict[str, Path]:
    write_text(h.path(".yaml"), to_yaml(h.model.layout))
    return {"yaml": h.path(".yaml")}


def _pt(h: Handover) -> dict[str, Path]:
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in h.network.state_dict().items()
    }
    write_ultralytics(h.path(".pt"), h.model.layout, state, h.classes, h.imgsz)
    write_state_dict(h.path("_state_dict.pt"), state)
    return {"pt": h.path(".pt"), "state_dict": h.path("_state_dict.pt")}


def _safetensors(h: Handover) -> dict[str, Path]:
    facts = metadata(h.model.layout, h.classes, h.imgsz)
    write_safetensors(h.path(".safetensors"), h.network.state_dict(), facts)
    return {"safetensors": h.path(".safetensors")}


def _onnx(h: Handover) -> dict[str, Path]:
    found = write_onnx(h.path(".onnx"), h.network, h.classes, h.imgsz)
    h.notes.append(f"onnxruntime against torch: boxes within {found.px:.1e} px, scores within {found.score:.1e}")
    return {"onnx": h.path(".onnx")}


FORMATS: dict[str, Callable[[Handover], dict[str, Path]]] = {
    "yaml": _yaml,
    "pt": _pt,
    "safetensors": _safetensors,
    "onnx": _onnx,
}
"""Format -> what writes it and gives its files by name."""


def export(model: Model, to: Sequence[str], folder: Path, imgsz: int | None) -> ExportResult:
    """Write a model in some formats.

    Args:
        model: has a layout; without weights it is written with fresh ones, which the notes say.
        to: keys of FORMATS.
        folder: where; made if it is not there.
        imgsz: side in px; by default what the model was trained at, else 640.

    Raises:
        EffscopeError: an unknown format, a model that is no detector, or what a format cannot say.
    """
    for name in to:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    layout = model.layout
    network = model.network().eval()
    if "decoded" not in network.spec.views:
        raise EffscopeError(f"{model.name} has no head that can be decoded here: it cannot be exported")
    classes = model.classes or tuple(f"class{i}" for i in range(layout.nc))
    side = imgsz or model.imgsz or USUAL_SIZE
    handover = Handover(model, network, classes, side, make_folder(folder))
    if model.state is None:
        handover.notes.append("untrained weights: the file holds fresh ones")
    files = {key: str(path) for name in to for key, path in FORMATS[name](handover).items()}
    made = origin(ExportConfig(tuple(to), side), layout.digest())
    return ExportResult(model.name, side, files, tuple(handover.notes), made)
