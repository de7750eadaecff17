"""The export formats of a model: one entry in `FORMATS` for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from effscope.checkpoint.write import write_safetensors, write_state_dict
from effscope.config import ExportConfig
from effscope.data.load import load_images
from effscope.detect.bank import Bank, load_bank
from effscope.errors import EffscopeError
from effscope.exporting.int8 import CALIBRATION, int8_graph, squares
from effscope.exporting.onnx_graph import checked_graph, write_onnx
from effscope.exporting.ultralytics_pt import write_ultralytics
from effscope.files import whole_folder, write_bytes, write_text
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.models.file_metadata import metadata
from effscope.models.naming import check_overwrites
from effscope.models.open import USUAL_SIZE
from effscope.models.opened import Model
from effscope.nn.build import Network
from effscope.results import ExportResult, origin
from effscope.spec.graph import DECODED
from effscope.spec.layout import Layout


@dataclass(frozen=True)
class ExportJob:
    """A model to write.

    Attributes:
        model: the model.
        network: its network in eval mode.
        classes: class names.
        imgsz: side of its images in px.
        folder: output folder.
        shown: images for the ranges of int8.
        notes: lines for the user; formats append to it.
    """

    model: Model
    network: Network
    classes: tuple[str, ...]
    imgsz: int
    folder: Path
    shown: Bank | None = None
    notes: list[str] = field(default_factory=list)

    def path(self, ending: str) -> Path:
        """The path of a file: the name of the model and an ending."""
        return self.folder / f"{self.model.name}{ending}"


def _yaml(job: ExportJob) -> dict[str, Path]:
    write_text(job.path(".yaml"), to_yaml(job.model.layout))
    return {"yaml": job.path(".yaml")}


def _pt(job: ExportJob) -> dict[str, Path]:
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in job.network.state_dict().items()
    }
    write_ultralytics(job.path(".pt"), job.model.layout, state, job.classes, job.imgsz)
    write_state_dict(job.path("_state_dict.pt"), state)
    return {"pt": job.path(".pt"), "state_dict": job.path("_state_dict.pt")}


def _safetensors(job: ExportJob) -> dict[str, Path]:
    facts = metadata(job.model.layout, job.classes, job.imgsz)
    write_safetensors(job.path(".safetensors"), job.network.state_dict(), facts)
    return {"safetensors": job.path(".safetensors")}


def _onnx(job: ExportJob) -> dict[str, Path]:
    found = write_onnx(job.path(".onnx"), job.network, job.classes, job.imgsz)
    job.notes.append(f"onnxruntime against torch: boxes within {found.px:.1e} px, scores within {found.score:.1e}")
    return {"onnx": job.path(".onnx")}


def _int8(job: ExportJob) -> dict[str, Path]:
    assert job.shown is not None
    graph, _ = checked_graph(job.network, job.classes, job.imgsz)
    write_bytes(job.path("_int8.onnx"), int8_graph(graph, squares(job.shown)))
    job.notes.append(
        f"int8: static, weights per channel, ranges of at most {CALIBRATION} images of {job.shown.dataset.source}, the "
        "closing convolutions in float32; `effscope eval` gives its AP and time"
    )
    return {"int8": job.path("_int8.onnx")}


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        write: writes a job's files into its folder and returns them by name.
        endings: what its files add to the model's name.
        packages: packages that it needs.
        by_yaml: whether Ultralytics' YAML must be able to say the layout.
        images: whether it needs images.
    """

    write: Callable[[ExportJob], dict[str, Path]]
    endings: tuple[str, ...]
    packages: tuple[str, ...] = ()
    by_yaml: bool = False
    images: bool = False


GRAPH_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

FORMATS: dict[str, Format] = {
    "yaml": Format(_yaml, (".yaml",), by_yaml=True),
    "pt": Format(_pt, (".pt", "_state_dict.pt"), by_yaml=True),
    "safetensors": Format(_safetensors, (".safetensors",), ("safetensors",)),
    "onnx": Format(_onnx, (".onnx",), GRAPH_PACKAGES),
    "int8": Format(_int8, ("_int8.onnx",), GRAPH_PACKAGES, images=True),
}
"""Keys are those of `config.counting.EXPORT_FORMATS`."""


def export(
    model: Model,
    to: Sequence[str],
    folder: Path,
    imgsz: int | None,
    data: str | None = None,
    given: Sequence[str] = (),
) -> ExportResult:
    """Write a model in some formats: all of them, or no file.

    Args:
        model: a model with a layout. If it has no weights, random ones are written and a note says so.
        to: keys of FORMATS.
        folder: output folder; created if it does not exist.
        imgsz: side of the image in px; default: the size in training, else 640.
        data: data set or folder of images whose training images give the ranges of int8; only read for it.
        given: paths of the user that must stay as they are: of the model and the data.

    Raises:
        EffscopeError: an unknown format, int8 without data, a package that is missing, a model that is not a detector,
            a model that a format cannot express, or a file that would be written over one of `given`.
    """
    layout, side = model.layout, imgsz or model.imgsz or USUAL_SIZE
    config = ExportConfig(tuple(to), side)
    check_formats(to, layout, data)
    check_overwrites(written(model, to, folder), *given)
    network = model.network().eval()
    if DECODED not in network.spec.views:
        raise EffscopeError(f"{model.name} has no head that effscope can decode: it cannot be exported")
    classes = model.classes or tuple(f"class{i}" for i in range(layout.nc))
    shown = None
    if data is not None and any(FORMATS[name].images for name in to):
        shown = load_bank(load_images(data, "train", classes, CALIBRATION), side)
    notes = ["untrained model: the file has random weights"] if model.state is None else []
    with whole_folder(folder) as draft:
        job = ExportJob(model, network, classes, side, draft, shown, notes)
        names = {key: path.name for name in to for key, path in FORMATS[name].write(job).items()}
    files = {key: str(folder / name) for key, name in names.items()}
    return ExportResult(model.name, side, files, tuple(job.notes), origin(config, layout.digest()))


def written(model: Model, to: Sequence[str], folder: Path) -> list[Path]:
    """The files of some formats."""
    return [folder / f"{model.name}{ending}" for name in to for ending in FORMATS[name].endings]


def check_formats(to: Sequence[str], layout: Layout, data: str | None) -> None:
    """Check what the formats need, before the first file is written.

    Raises:
        EffscopeError: images or a package are missing, or YAML cannot say the layout.
    """
    for name in to:
        needs = FORMATS[name]
        missing = [package for package in needs.packages if find_spec(package) is None]
        if missing:
            raise EffscopeError(f"{name} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
        if needs.images and data is None:
            raise EffscopeError(f"{name} needs images for the ranges of its values: give `data`, the training images")
        if needs.by_yaml:
            try:
                to_yaml(layout)
            except EffscopeError as error:
                raise EffscopeError(f"{name} cannot be written: {error}") from None
