"""`effscope train`, `effscope eval`, `effscope search`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.options import (
    Batch,
    Budget,
    Csv,
    Data,
    Device,
    Epochs,
    Imgsz,
    Json,
    LimitTrain,
    LimitVal,
    Model,
    Out,
    Quiet,
    RecipeWords,
    Runtime,
    Seed,
    Weights,
)
from effscope.cli.saving import Delivery, finish
from effscope.cli.terminal import display
from effscope.progress import leads


def train(
    model: Model,
    data: Data = "builtin:shapes",
    weights: Weights = None,
    imgsz: Imgsz = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    recipe: RecipeWords = None,
    freeze: Annotated[int, typer.Option("--freeze", help="Number of layers, from the input, with fixed weights.")] = 0,
    unfreeze_epochs: Annotated[
        int, typer.Option("--unfreeze-epochs", help="Unfreeze them over this many epochs, the deepest first; 0: never.")
    ] = 0,
    eval_every: Annotated[
        Optional[int],
        typer.Option("--eval-every", help="Epochs between evaluations; 0: only at the end. Default: ten in total."),
    ] = None,
    track: Annotated[bool, typer.Option("--track", help="Also write curves for TensorBoard.")] = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector; after a stop, the same command resumes."""
    with display(quiet) as (progress, say):
        result = api.train(
            model, weights=weights, out=out, track=track, progress=progress, say=say, data=data, imgsz=imgsz,
            epochs=epochs, batch=batch, seed=seed, device=device, limit_train=limit_train, limit_val=limit_val,
            recipe=recipe, freeze=freeze, unfreeze_epochs=unfreeze_epochs, eval_every=eval_every,
        )  # fmt: skip
    if not leads():
        return
    finish(result, Delivery(json, csv, out, quiet))


def eval(
    model: Model,
    data: Data,
    imgsz: Imgsz = None,
    batch: Annotated[int, typer.Option("--batch", help="Images per forward pass.")] = 16,
    device: Device = "auto",
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    limit_val: LimitVal = None,
    errors: Annotated[bool, typer.Option("--errors", help="Errors by kind, and the AP without each kind.")] = False,
    convention: Annotated[
        str, typer.Option("--as", help="coco; or ultralytics: AP as its val prints it, boxes not clipped.")
    ] = "coco",
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """COCO AP of a detector on a data set; --out also writes detections and drawn examples."""
    with display(quiet) as (progress, say):
        result = api.eval(model, data, imgsz, batch, device, split, limit_val, out, progress, say, errors, convention)
    finish(result, Delivery(json, csv, out, quiet))


def search(
    base: Annotated[str, typer.Option("--base", help="Zoo name, layout YAML, weights file or run folder.")] = "yolov8n",
    weights: Weights = None,
    data: Data = "builtin:shapes",
    move: Annotated[str, typer.Option("--move", help="Block that replaces a stage: cib or cib-lk.")] = "cib",
    head: Annotated[
        str, typer.Option("--head", help="light: give the base the light class head first; or keep.")
    ] = "light",
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            help="noninferior: the loss is below the margin with 95 % confidence; with one run each, margin: AP >= "
            "base - margin, paper: AP >= base.",
        ),
    ] = "noninferior",
    margin: Annotated[float, typer.Option("--margin", help="Allowed loss of AP, a fraction.")] = 0.01,
    runs: Annotated[
        int, typer.Option("--runs", help="Most short trainings of the base and of each candidate: 2, 3 or 5.")
    ] = 5,
    budget: Budget = None,
    runtime: Runtime = None,
    imgsz: Imgsz = None,
    base_epochs: Annotated[
        Optional[int], typer.Option("--base-epochs", help="Epochs of the base; half if it starts from weights.")
    ] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    recipe: RecipeWords = None,
    proxy_recipe: Annotated[
        Optional[str],
        typer.Option(
            "--proxy-recipe",
            metavar="NAME",
            help="Recipe of the short trainings: gentle,distil_gain=1 if the weights know the classes, else quick.",
        ),
    ] = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Replace redundant stages by compact blocks until AP drops; write tables, plots and the smaller model."""
    with display(quiet) as (progress, say):
        result = api.search(
            base, out=out, progress=progress, say=say, weights=weights, data=data, move=move, head=head, rule=rule,
            margin=margin, runs=runs, budget=budget, runtime=runtime, imgsz=imgsz, base_epochs=base_epochs,
            epochs=epochs, batch=batch, seed=seed, device=device, limit_train=limit_train, limit_val=limit_val,
            recipe=recipe, proxy_recipe=proxy_recipe,
        )  # fmt: skip
    finish(result, Delivery(json, csv, out, quiet))
