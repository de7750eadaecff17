"""`effscope rank`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.next_steps import after_rank, suggest
from effscope.cli.options import AnyModels, Csv, Details, Json, Out, Quiet, Size
from effscope.cli.saving import Delivery, deliver
from effscope.cli.terminal import display


def rank(
    models: AnyModels,
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="WORD",
            help="What is ranked. stage (blocks at one resolution): its closing conv; block: the last conv of its last "
            "block; all: every conv and linear layer.",
        ),
    ] = "stage",
    threshold: Annotated[
        str,
        typer.Option(
            "--threshold", metavar="X", help="Fraction of the largest singular value; or energy:0.9, eps or mp."
        ),
    ] = "0.5",
    fold_bn: Annotated[bool, typer.Option("--fold-bn/--raw", help="Fold the batch norm into the weight.")] = True,
    activations: Annotated[
        Optional[str], typer.Option("--activations", metavar="DATA", help="Rank outputs on images instead of weights.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Number of images for --activations.")] = 64,
    centred: Annotated[bool, typer.Option("--centred/--uncentred", help="Subtract the mean from activations.")] = True,
    imgsz: Size = None,
    plots: Annotated[
        str,
        typer.Option(
            "--plots", "--pictures", metavar="LIST", help="Plot formats for --out, with commas: png, svg, pdf."
        ),
    ] = "png",
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Numerical rank of each stage, ascending: the first is the most redundant. Several models are compared."""
    from effscope.reporting.render import plot_formats  # noqa: PLC0415

    formats, several = plot_formats(plots), len(models) > 1
    with display(quiet) as (progress, say):
        settings = {
            "at": at, "threshold": threshold, "fold_bn": fold_bn, "activations": activations, "limit": limit,
            "imgsz": imgsz, "centred": centred, "progress": progress, "say": say,
        }  # fmt: skip
        results = api.ranks(models, **settings) if several else (api.rank(models[0], **settings),)  # type: ignore[arg-type]
    to = Delivery(json, csv, out, quiet, details)
    deliver(results, to, formats)
    suggest(after_rank(models[0], results[0]), to)
