"""`effscope diff`, `effscope zoo`."""

from __future__ import annotations

from typing import Annotated

import typer

from effscope import api
from effscope.cli.options import ANY_MODEL_WORDS, Csv, Json, Out, Quiet, Size
from effscope.cli.saving import Delivery, deliver
from effscope.cli.terminal import display


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=ANY_MODEL_WORDS)],
    b: Annotated[str, typer.Argument(metavar="B", help="The second model.")],
    imgsz: Size = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Compare the cost of two models stage by stage."""
    deliver([api.diff(a, b, imgsz)], Delivery(json, csv, out, quiet))


def zoo(
    pattern: Annotated[str, typer.Argument(metavar="PATTERN", help="Only names that contain this text.")] = "",
    backbones: Annotated[
        bool,
        typer.Option("--backbones", help="List classification backbones of torchvision and timm instead (needs timm)."),
    ] = False,
    json: Json = None,
    csv: Csv = None,
    quiet: Quiet = False,
) -> None:
    """The built-in models and their published figures."""
    with display(quiet) as (progress, _):
        result = api.zoo(pattern, backbones, progress)
    deliver([result], Delivery(json, csv, quiet=quiet))
