"""`export`: write a model for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.config import check_imgsz
from effscope.config.search import DEFAULT_MOVES
from effscope.errors import EffscopeError
from effscope.models.open import open_model
from effscope.models.opened import colour_model
from effscope.progress import Progress, silent

if TYPE_CHECKING:
    from effscope.results import ExportResult


def export(
    model: str,
    to: str | Sequence[str] = "safetensors",
    out: str | Path = "export",
    imgsz: int | None = None,
    library: bool = False,
    moves: str | Sequence[str] | None = None,
    data: str | None = None,
    progress: Progress = silent,
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
        progress: called with the fraction of the library that is done, and a text.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.exporting.formats import export as write  # noqa: PLC0415 - imports torch

    check_imgsz(imgsz)
    if library:
        from effscope.searching.pieces import write_library  # noqa: PLC0415 - imports torch

        return write_library(
            colour_model(open_model(model)), moves or DEFAULT_MOVES["target"], imgsz, Path(out), progress
        )
    if moves is not None:
        raise EffscopeError("`moves` is used with `library`: give it, or leave out `moves`")
    formats = [part.strip() for part in to.split(",")] if isinstance(to, str) else list(to)
    if data is not None and "int8" not in formats:
        raise EffscopeError("`data` is used for int8 alone: name it in `to`, or leave out `data`")
    return write(open_model(model), formats, Path(out), imgsz, data)
