"""`train`, `eval` and `search`: what needs images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from effscope.config import (
    EvalConfig,
    SearchSettings,
    TrainConfig,
    TrainSettings,
    search_config,
    training_config,
)
from effscope.errors import EffscopeError
from effscope.models.open import open_model
from effscope.progress import Progress, Say, leads, silent, together, unsaid
from effscope.results import EvalResult, origin

if TYPE_CHECKING:
    from effscope.results import SearchResult, TrainResult
    from effscope.training.run import Training


def train(
    model: str,
    *,
    weights: str | None = None,
    out: str | Path | None = None,
    track: bool = False,
    progress: Progress = silent,
    say: Say = unsaid,
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train a detector and score its last averaged weights on the validation split.

    Args:
        model: zoo name, layout YAML, weights file or run folder; weights it brings are the start.
        weights: a weights file to start from, joined by name and shape.
        out: folder; the same settings find the same folder, and a stopped training goes on.
        track: also write the curves for TensorBoard, into the folder.
        progress: told the fraction done and a text.
        say: told what is wrong with the data, what the weights gave and, before a training, the plan.
        settings: fields of `config.TrainConfig`; what is missing or None comes from `config.PROXIES`. A recipe is a
            `Recipe`, a preset's name with changes behind it ("quick,lr=0.0005"), or a dict of changes.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.reporting.tensorboard import board  # noqa: PLC0415
    from effscope.reporting.write import publish  # noqa: PLC0415
    from effscope.results import TRAIN_RESULT, TrainResult  # noqa: PLC0415
    from effscope.training.processes import processes  # noqa: PLC0415 - imports torch
    from effscope.training.run import TRAIN_STATE, finished, run  # noqa: PLC0415
    from effscope.workspace import open_workspace, run_folder  # noqa: PLC0415

    config = training_config(settings)
    everyone = processes(config.device)
    folder = run_folder("train", " ".join(filter(None, (model, weights))), config.data, config, out)
    on_epoch = board(folder) if track and leads() else None
    training = _prepared(model, weights, config, say)
    with open_workspace(folder, training.identity(), say) as workspace:
        found = finished(workspace)
        if found is not None:
            say(f"{folder} holds this training, finished")
            return found
        done = run(training, workspace, everyone, progress, say, on_epoch)
        result = publish(done, folder) if done is not None else None
        everyone.wait()
        workspace.path(TRAIN_STATE).unlink(missing_ok=True)
        return result or TrainResult.load(workspace.path(TRAIN_RESULT))


def _prepared(model: str, weights: str | None, config: TrainConfig, say: Say) -> Training:
    """The training that the arguments describe."""
    from effscope.detect.splits import load_splits  # noqa: PLC0415 - imports torch
    from effscope.models.file_metadata import metadata  # noqa: PLC0415
    from effscope.nn.build import digest  # noqa: PLC0415
    from effscope.training.freezing import check_freeze  # noqa: PLC0415
    from effscope.training.run import Training, Weights, start  # noqa: PLC0415

    opened = open_model(model)
    given = open_model(weights) if weights else opened
    if weights and given.state is None:
        raise EffscopeError(f"{weights} holds no weights: give a weights file or a run folder")
    splits = load_splits(config.data, config.limit_train, config.limit_val, say)
    classes = splits[0].classes
    layout = replace(opened.layout, nc=len(classes))
    known = None if given.state is None else Weights(given.name, given.layout, given.state)
    begun = start(layout, config.seed, known, say)
    check_freeze(begun.network, config)
    made = origin(
        config, layout.digest(), {split.split: split.digest for split in splits}, (config.seed,),
        weights=digest(begun.network.state_dict()),
    )  # fmt: skip
    return Training(opened.name, config, splits, begun, made, metadata(layout, classes, config.imgsz))


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
        imgsz: long side in px; by default what the model was trained at, else 640.
        batch: images at once.
        device: auto, cpu, cuda or cuda:N.
        split: which split.
        limit_val: only so many images.
        out: a folder for the result, AP by image, the detections and drawn examples; `files` of the result lists them.
        progress: told the fraction done and a text.
        say: told the faults of the data and, before a training, the plan.
        errors: what stands between the detector and full AP, by kind.
        convention: "coco", or "ultralytics" for the AP that its `val` prints: pictures padded by half a stride more,
            boxes that reach beyond the picture not cut.

    Raises:
        EffscopeError: bad input, no weights, or no class in common.
    """
    from effscope.data.check import check_boxes, say_faults  # noqa: PLC0415
    from effscope.data.classes import in_model_classes  # noqa: PLC0415
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.detect.error_analysis import error_analysis  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.detect.resampling import match  # noqa: PLC0415
    from effscope.nn.fuse import deploy  # noqa: PLC0415

    opened = open_model(model)
    if opened.state is None:
        raise EffscopeError(f"{model} has no weights to evaluate: give a weights file or a run folder")
    config = EvalConfig(imgsz=imgsz or opened.imgsz or 640, batch=batch, device=device, convention=convention)
    labelled = check_boxes(load(data, split, limit_val))
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


def search(
    base: str = "yolov8n",
    *,
    out: str | Path | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
    **settings: Unpack[SearchSettings],
) -> SearchResult:
    """Find redundant stages, swap them for compact blocks, keep what does not cost AP.

    Args:
        base: zoo name, layout YAML, weights file or run folder.
        out: folder; the same settings find the same folder, and a stopped search goes on.
        progress: told the fraction done and a text.
        say: told what is wrong with the data and, before any work, the plan.
        settings: fields of `config.SearchConfig`; what is missing or None has its default, sizes come from
            `config.PROXIES`.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: bad input, in one line.
    """
    from effscope.reporting.write import publish  # noqa: PLC0415
    from effscope.searching.run import search as run  # noqa: PLC0415 - imports torch
    from effscope.thresholds import read_threshold  # noqa: PLC0415
    from effscope.workspace import run_folder  # noqa: PLC0415

    if together() > 1:
        raise EffscopeError("a search runs in one process: start it with effscope, not with accelerate launch")
    config = search_config({"base": base, **settings})
    read_threshold(config.threshold)
    folder = run_folder("search", config.base, config.data, config, out)
    return publish(run(config, folder, progress, say), folder)
