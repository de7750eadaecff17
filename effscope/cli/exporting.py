"""`effscope export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.next_steps import after_export, suggest
from effscope.cli.options import OUTPUT, Csv, EvalImgsz, Json, Model, Quiet
from effscope.cli.saving import Delivery, deliver
from effscope.cli.terminal import display


def export(
    model: Model,
    to: Annotated[
        Optional[str],
        typer.Option(
            "--to",
            metavar="LIST",
            help="Formats, with commas: yaml, pt, safetensors, onnx, int8. Default: safetensors.",
        ),
    ] = None,
    library: Annotated[
        bool,
        typer.Option(
            "--library", help="Write instead every part that a search can change, as ONNX, to time on a device."
        ),
    ] = False,
    moves: Annotated[
        Optional[str],
        typer.Option("--moves", metavar="LIST", help="With --library: cheaper parts, as in search. Default: all."),
    ] = None,
    data: Annotated[
        Optional[str],
        typer.Option("--data", metavar="DATA", help="With int8: data set or folder with training images."),
    ] = None,
    imgsz: EvalImgsz = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the files.", rich_help_panel=OUTPUT)
    ] = Path("export"),
    json: Json = None,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """Export a model: layout YAML, a .pt that Ultralytics can train, safetensors, ONNX; or parts to time."""
    with display(quiet) as (progress, _):
        result = api.export(model, to, out, imgsz, library, moves, data, progress)
    place = Delivery(json, csv, quiet=quiet)
    deliver([result], place)
    suggest(after_export(result), place)
