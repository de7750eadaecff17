"""`eval`: AP of a detector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.config import EvalConfig, at_least
from effscope.errors import EffscopeError
from effscope.models.open import open_model
from effscope.progress import Progress, Say, silent, unsaid
from effscope.results import EvalResult, origin

if TYPE_CHECKING:
    from effscope.models.opened import Model


def eval(
    model: str,
    data: str,
    imgsz: int | None = None,
    batch: int = 16,
    device: str = "auto",
    split: str = "val",
    limit_val: int | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
    errors: bool = False,
    convention: str = "coco",
) -> EvalResult:
    """COCO AP of a detector on a data set.

    Args:
        model: weights file or run folder.
        data: data set.
        imgsz: long side of the image in px; default: the size in training, else 640.
        batch: images per forward pass.
        device: auto, cpu, cuda or cuda:N.
        split: "train", "val" or "test".
        limit_val: maximum number of images, spread evenly over the split.
        out: a folder for the result, AP by image, the detections and drawn examples; `files` of the result lists them.
        progress: called with the fraction done and a text.
        say: called with faults of the data.
        errors: count the errors by kind, and compute the AP without each kind.
        convention: "coco", or "ultralytics" for the AP that its `val` prints: half a stride more padding, and
            boxes are not clipped to the image.

    Raises:
        EffscopeError: bad input, no weights, or no class in common.
    """
    opened = open_model(model)
    if opened.state is None:
        raise EffscopeError(f"{model} has no weights to evaluate: give a weights file or a run folder")
    if limit_val is not None:
        at_least(1)("limit_val", limit_val)
    config = EvalConfig(imgsz=imgsz or opened.imgsz or 640, batch=batch, device=device, convention=convention)
    return _scored(opened, data, split, limit_val, config, out, errors, progress, say)


def _scored(
    opened: Model,
    data: str,
    split: str,
    limit: int | None,
    config: EvalConfig,
    out: str | Path | None,
    errors: bool,
    progress: Progress,
    say: Say,
) -> EvalResult:
    from effscope.data.check import check_boxes, say_faults  # noqa: PLC0415 - the rest imports torch
    from effscope.data.classes import in_model_classes  # noqa: PLC0415
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.detect.error_analysis import error_analysis  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.detect.resampling import match  # noqa: PLC0415
    from effscope.nn.fuse import deploy  # noqa: PLC0415

    labelled = check_boxes(load(data, split, limit))
    given = in_model_classes(labelled, opened.classes, opened.layout.nc, opened.name, say)
    found = evaluate(deploy(opened.network()), given, config, progress)
    dataset = found.dataset or given
    say_faults(dataset, say)
    made = origin(config, opened.layout.digest(), {split: dataset.digest})
    kinds = error_analysis(dataset.samples, found.detections, dataset.classes) if errors else ()
    matches = match(dataset.samples, found.detections, len(dataset.classes))
    result = EvalResult(model=opened.name, **found.to_dict(), origin=made, errors=kinds, ap_se=matches.standard_error())
    if out is not None:
        from effscope.detect.examples import write_examples  # noqa: PLC0415
        from effscope.reporting.write import publish  # noqa: PLC0415

        names = opened.classes or dataset.classes
        files = write_examples(Path(out), dataset, found.detections, matches.per_image(), names)
        result = publish(replace(result, files=files), Path(out))
    return result
