"""`compare`: whether one detector is as good as another."""

from __future__ import annotations

from typing import Annotated

import typer

from effscope import api
from effscope.cli.options import Csv, Data, Details, Device, EvalBatch, EvalImgsz, Json, LimitVal, Out, Quiet, Split
from effscope.cli.saving import Delivery, finish
from effscope.cli.terminal import display

SIDE = (
    "Weights file or run folder (what train or search wrote). Several trainings with other seeds: with commas, or a "
    "pattern in quotes, 'runs/a-*'."
)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=SIDE)],
    b: Annotated[str, typer.Argument(metavar="B", help="The same for the other detector.")],
    data: Data,
    imgsz: EvalImgsz = None,
    batch: EvalBatch = 16,
    device: Device = "auto",
    split: Split = "val",
    limit_val: LimitVal = None,
    margin: Annotated[float, typer.Option("--margin", metavar="X", help="Allowed loss of AP, a fraction.")] = 0.01,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Judge whether B is as good as A: the difference in AP with a 95 % interval."""
    with display(quiet) as (progress, say):
        result = api.compare(a, b, data, imgsz, batch, device, split, limit_val, margin, out, progress, say)
    finish(result, Delivery(json, csv, out, quiet, details))
