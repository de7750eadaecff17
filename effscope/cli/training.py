"""`effscope train`, `effscope eval`, `effscope search`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli import training_options as of
from effscope.cli.next_steps import after_eval, after_search, after_train, suggest
from effscope.cli.options import (
    OUTPUT,
    Csv,
    Data,
    Details,
    Device,
    EvalBatch,
    EvalImgsz,
    Json,
    KeepWork,
    LimitVal,
    Model,
    Out,
    Quiet,
    Split,
)
from effscope.cli.saving import Delivery, finish, save_csv
from effscope.cli.terminal import display
from effscope.config.search import SearchConfig
from effscope.config.training import BUILTIN_SHAPES
from effscope.errors import EffscopeError
from effscope.progress import Say, leads
from effscope.results.codec import plain


def train(
    model: Model,
    data: of.SomeData = None,
    weights: of.Weights = None,
    imgsz: of.Imgsz = None,
    epochs: of.Epochs = None,
    batch: of.Batch = None,
    seed: of.Seed = 0,
    device: of.Device = "auto",
    limit_train: of.LimitTrain = None,
    limit_val: of.LimitVal = None,
    recipe: of.RecipeWords = None,
    freeze: of.Freeze = 0,
    unfreeze_epochs: of.UnfreezeEpochs = 0,
    eval_every: of.EvalEvery = None,
    track: Annotated[
        bool, typer.Option("--track", help="Also write curves for TensorBoard.", rich_help_panel=OUTPUT)
    ] = False,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector; after a stop, the same command resumes."""
    named, data = data, data or BUILTIN_SHAPES
    with display(quiet) as (progress, say):
        result = api.train(
            model, weights=weights, out=out, track=track, progress=progress, say=_led(say, named), data=data,
            imgsz=imgsz, epochs=epochs, batch=batch, seed=seed, device=device, limit_train=limit_train,
            limit_val=limit_val, recipe=recipe, freeze=freeze, unfreeze_epochs=unfreeze_epochs, eval_every=eval_every,
        )  # fmt: skip
    if not leads():
        return
    to = Delivery(json, csv, out, quiet, details)
    finish(result, to)
    suggest(after_train(result, data), to)


def eval(
    model: Model,
    data: Data,
    imgsz: EvalImgsz = None,
    batch: EvalBatch = 16,
    device: Device = "auto",
    split: Split = "val",
    limit_val: LimitVal = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="Count errors by kind, and the AP without each; --csv x.csv: x-errors.csv.")
    ] = False,
    convention: Annotated[
        str,
        typer.Option("--as", metavar="WORD", help="coco; or ultralytics: padding and boxes as in its val, AP near it."),
    ] = "coco",
    runtime: Annotated[
        Optional[str],
        typer.Option(
            "--runtime", metavar="NAME", help="torch, or onnx: run and time it there. Default: onnx for an ONNX file."
        ),
    ] = None,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """COCO AP, precision, recall and F1 of a detector by class; --out also writes plots, detections, drawn examples."""
    with display(quiet) as (progress, say):
        result = api.eval(
            model, data, imgsz, batch, device, split, limit_val, out, progress, say, errors, convention, runtime
        )
    to = Delivery(json, csv, out, quiet, details)
    finish(result, to)
    if csv is not None and result.errors:
        save_csv(csv.with_name(f"{csv.stem}-errors{csv.suffix}"), [plain(error) for error in result.errors])
    suggest(after_eval(model, data, result), to)


def search(
    model: of.SearchModel = None,
    data: of.SomeData = None,
    labels: of.Labels = "given",
    limit_train: of.LimitTrain = None,
    limit_val: of.LimitVal = None,
    base: of.Base = None,
    moves: of.Moves = None,
    order: of.Order = "rank",
    target: of.Target = None,
    library_only: of.LibraryOnly = False,
    latency_table: of.LatencyTable = None,
    runtime: of.Runtime = None,
    head: of.Head = None,
    rule: of.RuleName = "noninferior",
    margin: of.Margin = None,
    runs: of.Runs = 5,
    learned_ap: of.LearnedAp = 0.2,
    against: of.Against = None,
    weights: of.Weights = None,
    imgsz: of.Imgsz = None,
    base_epochs: of.BaseEpochs = None,
    epochs: of.ShortEpochs = None,
    finish_epochs: of.FinishEpochs = 0,
    batch: of.Batch = None,
    recipe: of.RecipeWords = None,
    proxy_recipe: of.ProxyRecipe = None,
    budget: of.Budget = None,
    seed: of.Seed = 0,
    device: of.Device = "auto",
    keep_work: KeepWork = False,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Replace redundant parts by cheaper ones until AP drops, or to a target; write tables and the smaller model."""
    start, named, data = _one_model(model, base), data, data or BUILTIN_SHAPES
    with display(quiet) as (progress, say):
        result = api.search(
            start, out=out, progress=progress, say=_led(say, named), weights=weights, data=data, moves=moves,
            order=order, target=target, library_only=library_only, latency_table=latency_table, against=against,
            finish_epochs=finish_epochs, labels=labels, head=head, rule=rule, margin=margin, runs=runs, budget=budget,
            runtime=runtime, imgsz=imgsz, base_epochs=base_epochs, epochs=epochs, batch=batch, seed=seed,
            device=device, limit_train=limit_train, limit_val=limit_val, recipe=recipe, proxy_recipe=proxy_recipe,
            learned_ap=learned_ap, keep_work=keep_work,
        )  # fmt: skip
    to = Delivery(json, csv, out, quiet, details)
    finish(result, to)
    suggest(after_search(result, start, data), to)


def _one_model(model: str | None, base: str | None) -> str:
    """The model of a search, given as MODEL or as --base."""
    if model is not None and base is not None and model != base:
        raise EffscopeError(f"search takes one model: MODEL is {model}, --base is {base}; give one of them")
    return model or base or SearchConfig.base


def _led(say: Say, data: str | None) -> Say:
    """The same `Say`; if no data were named, its first line says which are used."""
    waiting = [] if data is not None else [of.NO_DATA]

    def said(line: str) -> None:
        if waiting:
            say(waiting.pop())
        say(line)

    return said
