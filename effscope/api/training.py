"""`train` and `search`: functions that train detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from effscope.api.keywords import with_settings
from effscope.api.progress_line import shown
from effscope.config import (
    SearchConfig,
    SearchSettings,
    TrainConfig,
    TrainSettings,
    search_config,
    training_config,
)
from effscope.config.search import NO_LABELS
from effscope.data.naming import look_up_data
from effscope.errors import EffscopeError
from effscope.models.naming import look_up
from effscope.models.open import open_model
from effscope.models.opened import colour_model
from effscope.progress import Auto, Progress, Say, leads, together
from effscope.results import origin

if TYPE_CHECKING:
    from effscope.results import SearchResult, TrainResult
    from effscope.training.run import Training


@with_settings(TrainConfig, TrainSettings)
def train(
    model: str,
    *,
    weights: str | None = None,
    out: str | Path | None = None,
    track: bool = False,
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train a detector and score its last averaged weights on the validation split.

    Args:
        model: zoo name, layout YAML, weights file or run folder; if it has weights, training starts from them.
        weights: a weights file to start from; tensors are matched by name and shape.
        out: folder; by default the same settings use the same folder. A stopped training is resumed.
        track: also write the curves for TensorBoard, into the folder.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        say: "auto" (lines above the bar, if there is one), None, or called with faults of the data, what the weights
            provide and the plan.
        settings: fields of `config.TrainConfig`; `help` lists them. None means not given.

    Raises:
        EffscopeError: bad input, in one line.
    """
    config = training_config(settings)
    look_up(model)
    look_up(weights, trained=True)
    look_up_data(config.data)
    from effscope.reporting.tensorboard import board, check_installed  # noqa: PLC0415

    if track:
        check_installed()
    from effscope.reporting.write import publish  # noqa: PLC0415
    from effscope.results import TRAIN_RESULT, TrainResult  # noqa: PLC0415
    from effscope.training.processes import processes  # noqa: PLC0415 - imports torch
    from effscope.training.run import TRAIN_STATE, finished, run  # noqa: PLC0415
    from effscope.workspace import open_workspace, run_folder  # noqa: PLC0415

    group = processes(config.device)
    folder = run_folder("train", " ".join(filter(None, (model, weights))), config.data, config, out)
    on_epoch = board(folder) if track and leads() else None
    with shown(progress, say) as (report, tell):
        training = _prepared(model, weights, config, report, tell)
        with open_workspace(folder, training.identity(), tell) as workspace:
            found = finished(workspace)
            if found is not None:
                tell(f"{folder} holds this training and it is finished")
                workspace.path(TRAIN_STATE).unlink(missing_ok=True)
                return found
            done = run(training, workspace, group, report, tell, on_epoch)
            result = publish(done, folder) if done is not None else None
            group.wait()
            workspace.path(TRAIN_STATE).unlink(missing_ok=True)
            return result or TrainResult.load(workspace.path(TRAIN_RESULT))


def _prepared(model: str, weights: str | None, config: TrainConfig, progress: Progress, say: Say) -> Training:
    """The training for these arguments."""
    from effscope.detect.splits import load_splits  # noqa: PLC0415 - imports torch
    from effscope.models.file_metadata import metadata  # noqa: PLC0415
    from effscope.nn.build import digest  # noqa: PLC0415
    from effscope.training.freezing import check_freeze  # noqa: PLC0415
    from effscope.training.run import Training, Weights, start  # noqa: PLC0415

    opened = colour_model(open_model(model))
    given = open_model(weights) if weights else opened
    if weights and given.state is None:
        raise EffscopeError(f"{weights} holds no weights: give a weights file or a run folder")
    splits = load_splits(config.data, config.limit_train, config.limit_val, say, progress)
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


@with_settings(SearchConfig, SearchSettings)
def search(
    base: str = "yolov8n",
    *,
    out: str | Path | None = None,
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
    **settings: Unpack[SearchSettings],
) -> SearchResult:
    """Replace redundant parts by cheaper ones, and keep what does not lower AP.

    Without a target stages change one after the other, in the order of their ranks, until AP drops. With `target` every
    change is fitted and scored alone, and the changes with the least damage that reach it are judged together.

    Args:
        base: zoo name, layout YAML, weights file or run folder.
        out: folder; by default the same settings use the same folder. A stopped search is resumed.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        say: "auto" (lines above the bar, if there is one), None, or called with faults of the data, the plan and
            each verdict.
        settings: fields of `config.SearchConfig`; `help` lists them. None means not given.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: bad input, in one line.
    """
    from effscope.thresholds import read_threshold  # noqa: PLC0415

    if together() > 1:
        raise EffscopeError("a search runs in one process: start it with effscope, not with accelerate launch")
    config = search_config({"base": base, **settings})
    read_threshold(config.threshold)
    look_up(config.base)
    look_up(config.weights, trained=True)
    look_up(config.against, trained=True, setting="against")
    look_up_data(config.data, labelled=config.labels != NO_LABELS)
    if config.latency_table is not None and not Path(config.latency_table).is_file():
        raise EffscopeError(f"`latency_table`: there is no file {config.latency_table}")
    from effscope.reporting.write import publish  # noqa: PLC0415
    from effscope.searching.run import search as run  # noqa: PLC0415 - imports torch
    from effscope.workspace import run_folder  # noqa: PLC0415

    folder = run_folder("search", config.base, config.data, config, out)
    with shown(progress, say) as (report, tell):
        return run(config, folder, report, tell, publish)
