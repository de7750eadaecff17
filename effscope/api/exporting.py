"""`export`: write a model for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.api.progress_line import shown
from effscope.config import ExportConfig, check_imgsz
from effscope.config.search import DEFAULT_MOVES
from effscope.data.naming import look_up_data
from effscope.errors import EffscopeError
from effscope.models.naming import check_overwrites, look_up
from effscope.models.open import open_model
from effscope.models.opened import colour_model
from effscope.progress import Auto, Progress

if TYPE_CHECKING:
    from effscope.results import ExportResult


USUAL_FORMAT = "safetensors"

LIBRARY_MODEL = "model.onnx"
"""The whole model, as `library` writes it."""

LIBRARY_TABLE = "latency.csv"
"""The table of `library`, in which users write their times."""


def export(
    model: str,
    to: str | Sequence[str] | None = None,
    out: str | Path = "export",
    imgsz: int | None = None,
    library: bool = False,
    moves: str | Sequence[str] | None = None,
    data: str | None = None,
    progress: Progress | Auto | None = "auto",
) -> ExportResult:
    """Write a model in formats of other tools, or the pieces of a search's library.

    Args:
        model: zoo name, layout YAML, weights file or run folder.
        to: formats, as a list or a string with commas: yaml (Ultralytics' layout), pt (one file for
            `ultralytics.YOLO(...)`, which can train it, and a plain state dict), safetensors, onnx (decoded, checked
            in onnxruntime), int8 (onnx whose layers compute in int8, but the closing convolutions; needs `data`).
        out: output folder.
        imgsz: side of the image in px; default: the size in training, else 640.
        library: write, instead of `to`, the model and every part that `moves` make or replace as ONNX, and a csv file
            for their times on your device: `search(latency_table=...)` reads it.
        moves: moves of the library, as in `search`; default: all.
        data: data set or folder of images; its training images give the ranges of int8.
        progress: of `library`, as in `rank`.

    Raises:
        EffscopeError: bad input, in one line.
    """
    check_imgsz(imgsz)
    look_up(model)
    if library:
        if to is not None:
            raise EffscopeError("`library` writes ONNX files of its own: leave out `to`, or `library`")
        check_overwrites([Path(out) / LIBRARY_MODEL], model)
        _check_times(Path(out) / LIBRARY_TABLE)
        from effscope.searching.pieces import write_library  # noqa: PLC0415 - imports torch

        with shown(progress, None) as (report, _):
            return write_library(
                colour_model(open_model(model)), moves or DEFAULT_MOVES["target"], imgsz, Path(out), report
            )
    if moves is not None:
        raise EffscopeError("`moves` is used with `library`: give it, or leave out `moves`")
    asked = USUAL_FORMAT if to is None else to
    named = [part.strip() for part in asked.split(",")] if isinstance(asked, str) else list(asked)
    formats = list(dict.fromkeys(part for part in named if part))
    if data is not None and "int8" not in formats:
        raise EffscopeError("`data` is used only for int8: name it in `to`, or leave out `data`")
    ExportConfig(tuple(formats))
    if data is not None:
        look_up_data(data, labelled=False)
    from effscope.exporting.formats import export as write  # noqa: PLC0415 - imports torch

    given = [model] if data is None else [model, data]
    return write(open_model(model), formats, Path(out), imgsz, data, given)


def _check_times(table: Path) -> None:
    """Refuse to write an empty table over one with times of a device."""
    if not table.is_file():
        return
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    if any(line.rpartition(",")[2].strip() for line in lines):
        raise EffscopeError(f"{table} holds times, and an empty table would be written over it: choose another `out`")
