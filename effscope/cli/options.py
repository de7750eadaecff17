"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Json = Annotated[Optional[str], typer.Option("--json", metavar="FILE|-", help="Write the result as JSON; - prints it.")]
Csv = Annotated[Optional[Path], typer.Option("--csv", metavar="FILE", help="Write the main table as csv.")]
Out = Annotated[Optional[Path], typer.Option("--out", metavar="DIR", help="Folder for tables, plots and the result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Data = Annotated[str, typer.Option("--data", help="YOLO data.yaml, COCO folder, VOC folder, or builtin:shapes.")]
Imgsz = Annotated[Optional[int], typer.Option("--imgsz", help="Side of the image in px.")]
Size = Annotated[
    Optional[str],
    typer.Option(
        "--imgsz",
        "--input",
        metavar="SIZE",
        help="Image in px: 640, height x width 320x640, or a shape 1x1x256x256. Default: 640 or native size.",
    ),
]
Epochs = Annotated[Optional[int], typer.Option("--epochs", help="Epochs (search: of each short training).")]
Batch = Annotated[Optional[int], typer.Option("--batch", help="Images per step.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
LimitTrain = Annotated[Optional[int], typer.Option("--limit-train", help="Maximum number of training images.")]
LimitVal = Annotated[Optional[int], typer.Option("--limit-val", help="Maximum number of validation images.")]
Weights = Annotated[
    Optional[str],
    typer.Option("--weights", "--pretrained", help="Weights to start from, matched by name and shape."),
]
Budget = Annotated[
    Optional[str],
    typer.Option("--budget", help="Longest duration, like 2h or 90m: fewer runs, epochs or px to keep it."),
]
Runtime = Annotated[
    Optional[str],
    typer.Option("--runtime", help="What measures latency: onnx or torch. Default: onnx on a CPU, torch on a GPU."),
]
RecipeWords = Annotated[
    Optional[str],
    typer.Option(
        "--recipe", metavar="NAME", help="quick, plain, gentle, standard, paper; with changes: quick,lr=0.0005,mosaic=0"
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Zoo name, layout YAML, weights file or run folder.")]

Moves = Annotated[
    Optional[str],
    typer.Option(
        "--moves",
        metavar="LIST",
        help="Of cib, cib-lk, slim-75, slim-50, shallow, scdown, ghost, light-head; or slim, dense, all. "
        "Default: cib; all with --target or --library-only.",
    ),
]
Order = Annotated[str, typer.Option("--order", help="Of the stages: rank, separability, damage or damage-per-saving.")]
Target = Annotated[
    Optional[list[str]],
    typer.Option(
        "--target", metavar="COST=-N%", help="Save so much of params, flops or latency; can be given several times."
    ),
]
LibraryOnly = Annotated[bool, typer.Option("--library-only", help="Only fit, score and time every change alone.")]
LatencyTable = Annotated[
    Optional[str], typer.Option("--latency-table", help="csv file with times of your device: stage, move, ms.")
]
Head = Annotated[
    Optional[str],
    typer.Option(
        "--head",
        help="light: give the base the light class head first; or keep. Default: light with cib and no target.",
    ),
]
Against = Annotated[
    Optional[str], typer.Option("--against", help="Another model of the same classes, measured beside the chosen one.")
]
FinishEpochs = Annotated[
    int, typer.Option("--finish-epochs", help="Train the chosen model so many epochs more, taught by your model.")
]
Labels = Annotated[
    str,
    typer.Option(
        "--labels", help="given; or none: your model's detections are the labels, --data may be a folder of images."
    ),
]
RuleName = Annotated[
    str,
    typer.Option(
        "--rule",
        help="noninferior: the loss is below the margin with 95 % confidence; with one run each, margin: AP >= "
        "base - margin, paper: AP >= base.",
    ),
]
Margin = Annotated[
    Optional[float],
    typer.Option("--margin", help="Allowed loss of AP, a fraction. Default: 0.01; 0.05 without labels."),
]
Runs = Annotated[int, typer.Option("--runs", help="Most short trainings of the base and of each candidate: 2, 3 or 5.")]
BaseEpochs = Annotated[
    Optional[int], typer.Option("--base-epochs", help="Epochs of the base; half if it starts from weights.")
]
ProxyRecipe = Annotated[
    Optional[str],
    typer.Option(
        "--proxy-recipe",
        metavar="NAME",
        help="Recipe of the short trainings: gentle,distil_gain=1 if the weights know the classes, else quick.",
    ),
]
