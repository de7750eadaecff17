"""`effscope export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.options import Csv, Imgsz, Json, Model, Quiet
from effscope.cli.saving import Delivery, deliver
from effscope.cli.terminal import display


def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", help="With commas: yaml, pt, safetensors, onnx, int8.")] = "safetensors",
    library: Annotated[
        bool, typer.Option("--library", help="Instead, the parts of a search's library as ONNX, to time on a device.")
    ] = False,
    moves: Annotated[
        Optional[str], typer.Option("--moves", metavar="LIST", help="Moves of --library, as in search. Default: all.")
    ] = None,
    data: Annotated[Optional[str], typer.Option("--data", help="Data set with training images, for int8.")] = None,
    imgsz: Imgsz = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the files.")] = Path("export"),
    json: Json = None,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Export a model: layout YAML, a .pt that Ultralytics can train, safetensors, ONNX; or parts to time."""
    with display(quiet) as (progress, _):
        result = api.export(model, to, out, imgsz, library, moves, data, progress)
    deliver([result], Delivery(json, csv, quiet=quiet))
