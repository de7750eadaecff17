"""Flags of `effscope train` and `effscope search`. The defaults in the help texts come from the settings' tables."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope.cli.options import CHANGES, DATA, DATA_WORDS, JUDGED, MODEL_WORDS, TRAINING
from effscope.config.search import AGREEMENT_MARGIN, SearchConfig
from effscope.config.training import BUILTIN_SHAPES, PROXIES
from effscope.recipes import RECIPES, Recipe

SHAPES, OWN = PROXIES["builtin"], PROXIES["data"]

NO_DATA = f"data: {BUILTIN_SHAPES}, images that effscope draws; for your own data add --data data.yaml"
"""First line of a training or search without --data."""


def _default(of_shapes: object, of_data: object) -> str:
    """The default in words, where it depends on the data."""
    same = f"Default: {of_data}."
    return same if of_shapes == of_data else f"Default: {of_data}, with {BUILTIN_SHAPES} {of_shapes}."


def _named(recipe: Recipe) -> str:
    return next(name for name, known in RECIPES.items() if known == recipe)


EPOCHS = _default(SHAPES.base_epochs, OWN.base_epochs)

SomeData = Annotated[
    Optional[str],
    typer.Option("--data", metavar="DATA", help=f"{DATA_WORDS} Default: {BUILTIN_SHAPES}.", rich_help_panel=DATA),
]
LimitTrain = Annotated[
    Optional[int],
    typer.Option("--limit-train", metavar="N", help="Use at most N training images.", rich_help_panel=DATA),
]
LimitVal = Annotated[
    Optional[int],
    typer.Option("--limit-val", metavar="N", help="Use at most N validation images.", rich_help_panel=DATA),
]
Labels = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="WORD",
        help="given; or none: the detections of your model are the labels, and --data may be a folder of images.",
        rich_help_panel=DATA,
    ),
]

SearchModel = Annotated[
    Optional[str],
    typer.Argument(metavar="MODEL", help=f"{MODEL_WORDS} Default: {SearchConfig.base}.", show_default=False),
]
Base = Annotated[
    Optional[str], typer.Option("--base", metavar="MODEL", help="The same as MODEL.", rich_help_panel=CHANGES)
]
Moves = Annotated[
    Optional[str],
    typer.Option(
        "--moves",
        metavar="LIST",
        help="Cheaper parts to try, with commas: cib, cib-lk, slim-75, slim-50, shallow, scdown, ghost, light-head; "
        "or slim, dense, all. Default: cib; all with --target or --library-only.",
        rich_help_panel=CHANGES,
    ),
]
Order = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="WORD",
        help="Which stages (blocks at one resolution) come first: rank, separability, damage or damage-per-saving.",
        rich_help_panel=CHANGES,
    ),
]
Target = Annotated[
    Optional[list[str]],
    typer.Option(
        "--target",
        metavar="COST=-N%",
        help="Save so much: params=-30%, flops=-30% or latency=-20%. Can be given several times.",
        rich_help_panel=CHANGES,
    ),
]
LibraryOnly = Annotated[
    bool,
    typer.Option(
        "--library-only",
        help="Fit, score and time every change alone, and choose no model.",
        rich_help_panel=CHANGES,
    ),
]
LatencyTable = Annotated[
    Optional[str],
    typer.Option(
        "--latency-table",
        metavar="FILE",
        help="csv file with times of your device: stage, move, ms. effscope export --library writes it.",
        rich_help_panel=CHANGES,
    ),
]
Runtime = Annotated[
    Optional[str],
    typer.Option(
        "--runtime",
        metavar="NAME",
        help="What measures latency: onnx or torch. Default: onnx on a CPU, torch on a GPU.",
        rich_help_panel=CHANGES,
    ),
]
Head = Annotated[
    Optional[str],
    typer.Option(
        "--head",
        metavar="WORD",
        help="light: first give the model the light class head; or keep. Default: light for the move cib without "
        "--target.",
        rich_help_panel=CHANGES,
    ),
]

RuleName = Annotated[
    str,
    typer.Option(
        "--rule",
        metavar="WORD",
        help="When a change is kept. noninferior: with 95 % confidence AP falls by less than --margin. With one run of "
        "each model: margin: AP >= base - --margin; paper: AP >= base.",
        rich_help_panel=JUDGED,
    ),
]
Margin = Annotated[
    Optional[float],
    typer.Option(
        "--margin",
        metavar="X",
        help=f"Allowed loss of AP, a fraction. Default: {SearchConfig.margin}; {AGREEMENT_MARGIN} with --labels none.",
        rich_help_panel=JUDGED,
    ),
]
Runs = Annotated[
    int,
    typer.Option(
        "--runs",
        metavar="N",
        help="At most N short trainings of the base and of each candidate: 2, 3 or 5.",
        rich_help_panel=JUDGED,
    ),
]
LearnedAp = Annotated[
    float,
    typer.Option(
        "--learned-ap",
        metavar="X",
        help="Stop if the AP of the base is below X, a fraction: it has not learned.",
        rich_help_panel=JUDGED,
    ),
]
Against = Annotated[
    Optional[str],
    typer.Option(
        "--against",
        metavar="MODEL",
        help="Another trained model with the same classes, measured beside the chosen one.",
        rich_help_panel=JUDGED,
    ),
]

Weights = Annotated[
    Optional[str],
    typer.Option(
        "--weights",
        "--pretrained",
        metavar="FILE",
        help="Weights to start from, matched by name and shape.",
        rich_help_panel=TRAINING,
    ),
]
Imgsz = Annotated[
    Optional[int],
    typer.Option(
        "--imgsz",
        metavar="PX",
        help=f"Side of the image in px. {_default(SHAPES.imgsz, OWN.imgsz)}",
        rich_help_panel=TRAINING,
    ),
]
Epochs = Annotated[
    Optional[int],
    typer.Option("--epochs", metavar="N", help=f"Epochs. {EPOCHS}", rich_help_panel=TRAINING),
]
BaseEpochs = Annotated[
    Optional[int],
    typer.Option(
        "--base-epochs",
        metavar="N",
        help=f"Epochs of the base; half if it starts from weights of other classes. {EPOCHS}",
        rich_help_panel=TRAINING,
    ),
]
ShortEpochs = Annotated[
    Optional[int],
    typer.Option(
        "--epochs",
        metavar="N",
        help=f"Epochs of each short training. {_default(SHAPES.epochs, OWN.epochs)}",
        rich_help_panel=TRAINING,
    ),
]
FinishEpochs = Annotated[
    int,
    typer.Option(
        "--finish-epochs",
        metavar="N",
        help="At the end train the chosen model for N more epochs, with your model as the teacher.",
        rich_help_panel=TRAINING,
    ),
]
Batch = Annotated[
    Optional[int],
    typer.Option(
        "--batch",
        metavar="N",
        help=f"Images per step. {_default(SHAPES.batch, OWN.batch)}",
        rich_help_panel=TRAINING,
    ),
]
RecipeWords = Annotated[
    Optional[str],
    typer.Option(
        "--recipe",
        metavar="NAME",
        help=f"Learning rate and augmentation, not the length: {', '.join(RECIPES)}; with changes: "
        f"quick,lr=0.0005,mosaic=0. {_default(_named(SHAPES.recipe), _named(OWN.recipe))}",
        rich_help_panel=TRAINING,
    ),
]
ProxyRecipe = Annotated[
    Optional[str],
    typer.Option(
        "--proxy-recipe",
        metavar="NAME",
        help="Recipe of the short trainings. Default: gentle,distil_gain=1 if the weights know the classes of the "
        "data, else quick.",
        rich_help_panel=TRAINING,
    ),
]
Budget = Annotated[
    Optional[str],
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Longest duration, like 2h or 90m: fewer runs, epochs or px to keep it.",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all random numbers.", rich_help_panel=TRAINING)]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="auto, cpu, cuda, or the number of a GPU: 0 or cuda:0.",
        rich_help_panel=TRAINING,
    ),
]
Freeze = Annotated[
    int,
    typer.Option(
        "--freeze", metavar="N", help="Keep the weights of the first N layers fixed.", rich_help_panel=TRAINING
    ),
]
UnfreezeEpochs = Annotated[
    int,
    typer.Option(
        "--unfreeze-epochs",
        metavar="N",
        help="Release them over N epochs, the deepest first; 0: never.",
        rich_help_panel=TRAINING,
    ),
]
EvalEvery = Annotated[
    Optional[int],
    typer.Option(
        "--eval-every",
        metavar="N",
        help="Epochs between evaluations; 0: only at the end. Default: ten in total.",
        rich_help_panel=TRAINING,
    ),
]
