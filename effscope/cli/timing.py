"""`effscope latency`, `effscope devices`."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from effscope import api
from effscope.cli.next_steps import after_latency, suggest
from effscope.cli.options import AnyModels, Csv, Details, Device, Json, Out, Quiet, Seed, Size
from effscope.cli.saving import Delivery, deliver
from effscope.cli.terminal import display
from effscope.errors import EffscopeError


def latency(
    models: AnyModels,
    imgsz: Size = None,
    device: Device = "auto",
    threads: Annotated[Optional[int], typer.Option("--threads", metavar="N", help="CPU threads. Default: all.")] = None,
    dtype: Annotated[str, typer.Option("--dtype", metavar="NAME", help="float32, float16 or bfloat16.")] = "float32",
    runtime: Annotated[str, typer.Option("--runtime", metavar="NAME", help="torch, or onnx (onnxruntime).")] = "torch",
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Timed passes of each model.")] = 15,
    objects: Annotated[
        str,
        typer.Option("--objects", metavar="LIST", help="Post-processing is timed with so many objects in the image."),
    ] = "0,10,100,300",
    predict: Annotated[
        Optional[str],
        typer.Option("--predict", metavar="DEVICE", help="Also predict for a device that effscope devices lists."),
    ] = None,
    predict_dtype: Annotated[
        Optional[str],
        typer.Option("--predict-dtype", metavar="NAME", help="dtype of the prediction. Default: --dtype."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure this machine's peak and bandwidth again.")] = False,
    seed: Seed = 0,
    details: Details = False,
    json: Json = None,
    csv: Csv = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Measure forward pass, stages and post-processing with or without NMS; compare with a roofline prediction."""
    with display(quiet) as (progress, _):
        result = api.latency(
            models, imgsz, progress, device=device, threads=threads, dtype=dtype, runtime=runtime, rounds=rounds,
            objects=_numbers(objects), predict=predict, predict_dtype=predict_dtype, fresh=fresh, seed=seed,
        )  # fmt: skip
    to = Delivery(json, csv, out, quiet, details)
    deliver([result], to)
    suggest(after_latency(models[0]), to)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 0:
        raise EffscopeError(f"--objects takes whole numbers with commas, 0,10,100; got '{text}'")
    return found


def devices(json: Json = None, csv: Csv = None, out: Out = None, quiet: Quiet = False) -> None:
    """The devices that effscope predicts times for, with the source of every figure."""
    deliver([api.devices()], Delivery(json, csv, out, quiet))
