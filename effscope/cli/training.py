"""`effscope train`, `effscope eval`, `effscope search`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.options import (
    Against,
    BaseEpochs,
    Batch,
    Budget,
    Csv,
    Data,
    Device,
    Epochs,
    FinishEpochs,
    Head,
    Imgsz,
    Json,
    Labels,
    LatencyTable,
    LibraryOnly,
    LimitTrain,
    LimitVal,
    Margin,
    Model,
    Moves,
    Order,
    Out,
    ProxyRecipe,
    Quiet,
    RecipeWords,
    RuleName,
    Runs,
    Runtime,
    Seed,
    Target,
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
    runtime: Annotated[
        Optional[str],
        typer.Option("--runtime", help="torch, or onnx: run and time it there. Default: onnx for an ONNX file."),
    ] = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """COCO AP of a detector on a data set; --out also writes detections and drawn examples."""
    with display(quiet) as (progress, say):
        result = api.eval(
            model, data, imgsz, batch, device, split, limit_val, out, progress, say, errors, convention, runtime
        )
    finish(result, Delivery(json, csv, out, quiet))


def search(
    base: Annotated[str, typer.Option("--base", help="Zoo name, layout YAML, weights file or run folder.")] = "yolov8n",
    weights: Weights = None,
    data: Data = "builtin:shapes",
    moves: Moves = None,
    order: Order = "rank",
    target: Target = None,
    library_only: LibraryOnly = False,
    latency_table: LatencyTable = None,
    against: Against = None,
    finish_epochs: FinishEpochs = 0,
    labels: Labels = "given",
    head: Head = None,
    rule: RuleName = "noninferior",
    margin: Margin = None,
    runs: Runs = 5,
    budget: Budget = None,
    runtime: Runtime = None,
    imgsz: Imgsz = None,
    base_epochs: BaseEpochs = None,
    epochs: Epochs = None,
    batch: Batch = None,
    seed: Seed = 0,
    device: Device = "auto",
    limit_train: LimitTrain = None,
    limit_val: LimitVal = None,
    recipe: RecipeWords = None,
    proxy_recipe: ProxyRecipe = None,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Replace redundant parts by cheaper ones until AP drops, or to a target; write tables and the smaller model."""
    with display(quiet) as (progress, say):
        result = api.search(
            base, out=out, progress=progress, say=say, weights=weights, data=data, moves=moves, order=order,
            target=target, library_only=library_only, latency_table=latency_table, against=against,
            finish_epochs=finish_epochs, labels=labels, head=head, rule=rule, margin=margin, runs=runs, budget=budget,
            runtime=runtime, imgsz=imgsz, base_epochs=base_epochs, epochs=epochs, batch=batch, seed=seed,
            device=device, limit_train=limit_train, limit_val=limit_val, recipe=recipe, proxy_recipe=proxy_recipe,
        )  # fmt: skip
    finish(result, Delivery(json, csv, out, quiet))
