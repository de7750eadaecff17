"""A whole training: build the network, inherit weights, train, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor

from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig, TrainConfig, data_words, to_dict
from effscope.detect.by_class import class_fields
from effscope.detect.evaluate import evaluate
from effscope.detect.resampling import match
from effscope.detect.splits import Splits, decode
from effscope.errors import EffscopeError, counted
from effscope.layouts.expand import expand
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy
from effscope.nn.inherit import by_layer, inherit
from effscope.progress import Parts, Progress, Say, duration, leads
from effscope.results import TRAIN_RESULT, LayerTransfer, Origin, TrainResult
from effscope.spec.layout import Layout
from effscope.training.norms import recalibrate_on
from effscope.training.processes import Processes
from effscope.training.running import continued, epochs_done
from effscope.training.speed import training_images_per_s
from effscope.training.state_file import FREE
from effscope.training.threads import limited, pick_threads
from effscope.training.train import train
from effscope.workspace import RUN_WEIGHTS, Identity, Workspace

TRAIN_STATE = "training.state"
"""State of an unfinished training in its folder."""

MEASURING = "measuring the speed of this machine"
"""What the progress says meanwhile."""

NAMED = 5
"""Maximum number of layers in a line; `transfer.csv` has all layers."""


@dataclass(frozen=True)
class Weights:
    """Weights to start from.

    Attributes:
        name: name in messages.
        layout: layout of the weights.
        state: the state dict.
    """

    name: str
    layout: Layout
    state: Mapping[str, Tensor]


@dataclass(frozen=True)
class Start:
    """A network to train, and a report on its inherited weights.

    Attributes:
        network: the network, with random or inherited weights.
        transfer: inherited weights layer by layer; empty without given weights.
        line: the same in one line.
    """

    network: Network
    transfer: tuple[LayerTransfer, ...] = ()
    line: str = ""


def start(layout: Layout, seed: int, weights: Weights | None, say: Say) -> Start:
    """Build the network to train and report the inherited weights.

    Raises:
        EffscopeError: the weights belong to another model.
    """
    network = build(expand(layout), seed)
    if weights is None:
        return Start(network)
    found = by_layer(inherit(network, layout, weights.layout, weights.state), network, layout)
    lines = transfer_lines(weights.name, found)
    for line in lines:
        say(line)
    return Start(network, found, lines[0])


def transfer_lines(name: str, layers: Sequence[LayerTransfer]) -> list[str]:
    """Report on inherited weights: one line in total, then one line each for exact, partial and fresh layers."""
    over, params = sum(row.exact_params for row in layers), sum(row.params for row in layers)
    lines = [f"weights of {name}: {over:,} of {params:,} parameters transferred ({100 * over / params:.1f} %)"]
    for state in ("exact", "partial", "fresh"):
        of_state = [row for row in layers if row.state == state]
        if of_state:
            what = "all their tensors" if state == "exact" else ", ".join(map(_transferred, of_state[:NAMED]))
            more = f" and {len(of_state) - NAMED} more" if state != "exact" and len(of_state) > NAMED else ""
            lines.append(f"  {state}: {len(of_state)} layer{'s' * (len(of_state) > 1)}: {what}{more}")
    return lines


def _transferred(row: LayerTransfer) -> str:
    reshaped = f", {row.reshaped} of another shape" if row.reshaped else ""
    return f"{row.layer} {row.block} ({row.exact_tensors} of {counted(row.tensors, 'tensor')}{reshaped})"


@dataclass(frozen=True)
class Training:
    """A training with all its inputs, before images are decoded.

    Attributes:
        name: name of the model in tables.
        config: size, length, recipe.
        splits: training and validation split.
        start: the network.
        origin: origin of the result.
        facts: metadata of the weights file.
    """

    name: str
    config: TrainConfig
    splits: Splits
    start: Start
    origin: Origin[TrainConfig]
    facts: Mapping[str, str]

    def identity(self) -> Identity:
        """Identity of the run folder: settings, layout, data and starting weights."""
        settings = {name: value for name, value in to_dict(self.config).items() if name not in FREE}
        made = self.origin
        inputs = {"the layout": made.layout, "the starting weights": made.weights}
        inputs |= {f"the {split} images": digest for split, digest in made.data.items()}
        return Identity("training", settings, inputs)


def finished(workspace: Workspace) -> TrainResult | None:
    """The result of the training in this folder; None if it is not finished.

    Raises:
        EffscopeError: a result that cannot be read.
    """
    file = workspace.path(TRAIN_RESULT)
    if not file.exists() or not workspace.path(RUN_WEIGHTS).exists():
        return None
    try:
        return TrainResult.load(file)
    except EffscopeError as error:
        raise EffscopeError(f"{error}: delete {workspace.folder} to train again") from None


def run(
    training: Training,
    workspace: Workspace,
    group: Processes,
    progress: Progress,
    say: Say,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
) -> TrainResult | None:
    """Train, score the averaged weights, and write them into the folder.

    Args:
        training: the training.
        workspace: its folder; stores the state. A stored state is resumed.
        group: the processes that train together.
        progress: called with the fraction done and a text.
        say: called with where a stopped training goes on, the plan, faults of the images, and events of the training.
        on_epoch: called with the row of every epoch.

    Returns:
        The result; None in all processes except the first.

    Raises:
        EffscopeError: as in `training.train.train`.
    """
    config, network = training.config, training.start.network

    def pick() -> int:
        return pick_threads(network, config.imgsz, config.batch, group, say)

    line = continued(workspace.path(TRAIN_STATE), config.epochs)
    if line:
        say(line)
    progress(0.0, MEASURING)
    alone = group.count == 1
    with limited(workspace.settled("threads", pick)) if alone else nullcontext():
        return _run(training, workspace, group, progress, say, on_epoch)


def _run(
    training: Training,
    workspace: Workspace,
    group: Processes,
    progress: Progress,
    say: Say,
    on_epoch: Callable[[dict[str, float]], object] | None,
) -> TrainResult | None:
    config, network = training.config, training.start.network
    banks = decode(training.splits, config.imgsz, progress, say)
    n_train, n_val = len(banks.train.images), len(banks.val.images)
    progress(0.0, MEASURING)
    say(_plan(training, n_train, group, workspace))
    parts = Parts(progress, config.epochs * n_train + n_val)
    if training.start.transfer:
        recalibrate_on(network, banks.train, group.device)
    done = train(
        network, banks.train, config, val_set=banks.val if config.eval_every else None,
        progress=parts.part(config.epochs * n_train, "training"), say=say, state_file=workspace.path(TRAIN_STATE),
        on_epoch=on_epoch,
    )  # fmt: skip
    if not leads():
        return None
    network.load_state_dict(done.state)
    scoring = EvalConfig(imgsz=config.imgsz, batch=config.batch, device=config.device)
    step = parts.part(n_val, "scoring")
    found = done.evaluation or evaluate(deploy(network), banks.val, scoring, step)
    write_safetensors(workspace.path(RUN_WEIGHTS), done.state, training.facts)
    samples, classes = banks.val.dataset.samples, banks.val.dataset.classes
    matches = match(samples, found.detections, len(classes))
    return TrainResult(
        model=training.name,
        **found.to_dict(),
        origin=training.origin,
        ap_se=matches.standard_error(),
        **class_fields(found, matches, classes),
        images_per_s=done.images_per_s,
        epochs=config.epochs,
        peak_memory_mb=done.peak_memory_mb,
        seconds=done.seconds,
        history=done.history,
        transfer=training.start.line,
        transfer_layers=training.start.transfer,
        files={"weights": str(workspace.path(RUN_WEIGHTS))},
        notes=done.notes,
    )


def _plan(training: Training, n_images: int, group: Processes, workspace: Workspace) -> str:
    """The plan as one line, with its duration from the training speed of this machine."""
    config, left = training.config, training.config.epochs - epochs_done(workspace.path(TRAIN_STATE))
    speed = training_images_per_s(training.start.network, config.imgsz, config.batch, group)
    rest = "" if left == config.epochs else f" for the remaining {counted(left, 'epoch')}"
    return (
        f"plan: {training.name} for {counted(config.epochs, 'epoch')} on {data_words(config.data, n_images)} at "
        f"{config.imgsz} px, batch {config.batch}, seed {config.seed}: about {duration(left * n_images / speed)}{rest} "
        f"on this machine; folder {workspace.folder}"
    )
