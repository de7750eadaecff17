"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from effscope.config.detection import EvalConfig

DATA, CHANGES, JUDGED, TRAINING, OUTPUT = "Data", "What may change", "How it is judged", "Training", "Output"
"""Panels of the help texts."""

MODEL_WORDS = "Built-in name (effscope zoo), layout YAML, weights file, or run folder: what train or search wrote."
ANY_MODEL_WORDS = f"{MODEL_WORDS} Also torchvision:NAME, timm:NAME."

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_WORDS)]
AnyModel = Annotated[str, typer.Argument(metavar="MODEL", help=ANY_MODEL_WORDS)]
AnyModels = Annotated[list[str], typer.Argument(metavar="MODEL", help=f"{ANY_MODEL_WORDS} One or several.")]

Json = Annotated[
    Optional[str],
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - prints it.", rich_help_panel=OUTPUT),
]
Csv = Annotated[
    Optional[Path],
    typer.Option("--csv", metavar="FILE", help="Write the main table as csv.", rich_help_panel=OUTPUT),
]
Out = Annotated[
    Optional[Path],
    typer.Option("--out", metavar="DIR", help="Folder for tables, plots and the result.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.", rich_help_panel=OUTPUT)]
Details = Annotated[
    bool,
    typer.Option("--details", help="Print all tables and notes, not only the first table.", rich_help_panel=OUTPUT),
]
KeepWork = Annotated[
    bool,
    typer.Option(
        "--keep-work",
        help="Keep work/ in the folder of a finished search: weights and detections of every job.",
        rich_help_panel=OUTPUT,
    ),
]

DATA_WORDS = "YOLO data.yaml, COCO folder, VOC folder, or builtin:shapes (drawn images)."

Data = Annotated[str, typer.Option("--data", metavar="DATA", help=DATA_WORDS)]
EvalImgsz = Annotated[
    Optional[int],
    typer.Option(
        "--imgsz",
        metavar="PX",
        help=f"Side of the image in px. Default: the size in training, else {EvalConfig.imgsz}.",
    ),
]
Size = Annotated[
    Optional[str],
    typer.Option(
        "--imgsz",
        "--input",
        metavar="SIZE",
        help="Image in px: a side (640), height x width (320x640), or a shape (1x1x256x256). "
        f"Default: {EvalConfig.imgsz}, or the model's own size.",
    ),
]
EvalBatch = Annotated[int, typer.Option("--batch", metavar="N", help="Images per forward pass.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of all random numbers.")]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, or the number of a GPU: 0 or cuda:0.")
]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="train, val or test.")]
LimitVal = Annotated[Optional[int], typer.Option("--limit-val", metavar="N", help="Use at most N images of the split.")]
