"""What a run needs before it starts and leaves when it ends: its folder, its data, its base, its training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effscope.checkpoint.write import write_safetensors
from effscope.config import BUILTIN_SHAPES, EvalConfig, SearchConfig, TrainConfig, to_dict
from effscope.data.check import check_boxes, say_faults
from effscope.data.classes import matched
from effscope.data.load import load
from effscope.detect.bank import Banks, load_bank
from effscope.detect.evaluate import evaluate
from effscope.detect.resampling import match
from effscope.differences import differences
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.models.file_metadata import metadata
from effscope.models.open import RUN_WEIGHTS, open_model
from effscope.models.opened import Model
from effscope.nn.build import Network, build, digest
from effscope.nn.fuse import deploy
from effscope.nn.inherit import by_layer, inherit
from effscope.progress import Parts, Progress, Say, leads
from effscope.results import TRAIN_RESULT, LayerTransfer, Origin, TrainResult, origin
from effscope.spec.layout import Layout
from effscope.training.state_file import identity
from effscope.training.train import train as train_network

RUNS = Path("runs")
NAMED = 5
"""Layers a line names; `transfer.csv` has all."""
TRAIN_STATE = "training.state"
"""State of an unfinished training in its folder, deleted when the result is written."""


def run_folder(kind: str, model: str, data: str, config: Any, out: str | Path | None) -> Path:
    """The folder of a run: `out`, or one whose name follows from the settings, so that the same command finds it."""
    if out is not None:
        return Path(out)
    settings = json.dumps(to_dict(config), sort_keys=True)
    place = Path(data)
    subject = "shapes" if data == BUILTIN_SHAPES else place.resolve().parent.name if place.suffix else place.name
    tag = hashlib.sha256(f"{model} {settings}".encode()).hexdigest()[:6]
    return RUNS / f"{kind}-{'-'.join(Path(word).stem for word in model.split())}-{subject}-{tag}"


def given_base(config: SearchConfig) -> Model:
    """The base, with the weights of a second file if one is named."""
    given = open_model(config.base)
    if config.weights is None:
        return given
    weights = open_model(config.weights)
    if weights.state is None:
        raise EffscopeError(f"{config.weights} holds no weights: give a weights file or a run folder")
    if _body(weights.layout) != _body(given.layout):
        raise EffscopeError(
            f"{config.weights} is a {weights.layout.name}, --base is another {given.layout.name}: "
            "give weights of the base, or name them as --base"
        )
    return replace(weights, name=given.name)


def _body(layout: Layout) -> object:
    """What decides whether weights belong to a layout: all but the head and the class count."""
    return layout.scale, [layer for layer in layout.layers if layer.block != "Detect"]


def load_banks(config: SearchConfig | TrainConfig, progress: Progress, say: Say) -> Banks:
    """Train and validation split, decoded at the size of the training; says what was wrong with them.

    Raises:
        EffscopeError: no data, no box in it, no class in common.
    """
    train_set, val_set = (
        load(config.data, split, limit) for split, limit in (("train", config.limit_train), ("val", config.limit_val))
    )
    val_set = matched(val_set, train_set.classes, "the training split", say)
    banks = Banks(
        *(load_bank(split, config.imgsz, lambda _, text: progress(0.0, text)) for split in (train_set, val_set))
    )
    for bank in (banks.train, banks.val):
        say_faults(check_boxes(bank.dataset), say)
    return banks


def training_origin(config: TrainConfig, opened: Model, network: Network, banks: Banks) -> Origin[TrainConfig]:
    """Where a training that starts now comes from; its config, layout, data and starting weights make it this one."""
    data = {"train": banks.train.dataset.digest, "val": banks.val.dataset.digest}
    return origin(config, opened.layout.digest(), data, (config.seed,), digest(network.state_dict()))


def finished_training(folder: Path, made: Origin[TrainConfig]) -> TrainResult | None:
    """The result of this very training if the folder holds it; EffscopeError if it holds another one."""
    file = folder / TRAIN_RESULT
    if not file.exists() or not (folder / RUN_WEIGHTS).exists():
        return None
    try:
        found = TrainResult.load(file)
    except EffscopeError as error:
        raise EffscopeError(f"{error}: delete {folder} to train again") from None
    was = found.origin
    assert was.config is not None and made.config is not None
    differing = differences(identity(was.config), identity(made.config))
    differing += [name for name in ("layout", "weights", "data") if getattr(was, name) != getattr(made, name)]
    if differing:
        raise EffscopeError(
            f"{folder} holds another training ({', '.join(differing)} differ): choose another --out or delete it"
        )
    return found


@dataclass(frozen=True)
class Start:
    """A network to train, and what weights gave it: layer by layer, and in one line (empty where there were none)."""

    network: Network
    transfer: tuple[LayerTransfer, ...] = ()
    line: str = ""


def started(opened: Model, model: str, weights: str | None, seed: int, say: Say) -> Start:
    """The network to train; says what it inherited."""
    network = build(expand(opened.layout), seed)
    given = open_model(weights) if weights else open_model(model)
    if given.state is None:
        if weights:
            raise EffscopeError(f"{weights} holds no weights: give a weights file or a run folder")
        return Start(network)
    found = by_layer(inherit(network, opened.layout, given.layout, given.state), network, opened.layout)
    lines = transfer_lines(given.name, found)
    for line in lines:
        say(line)
    return Start(network, found, lines[0])


def transfer_lines(name: str, layers: Sequence[LayerTransfer]) -> list[str]:
    """What weights gave, for people: all in all, then the layers that are exact, partial and fresh."""
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
    return f"{row.layer} {row.block} ({row.exact_tensors} of {row.tensors} tensors{reshaped})"


def trained(
    start: Start,
    opened: Model,
    banks: Banks,
    config: TrainConfig,
    folder: Path,
    made: Origin[TrainConfig],
    progress: Progress,
    say: Say,
    on_epoch: Callable[[dict[str, float]], object] | None = None,
) -> TrainResult | None:
    """Train, score the last averaged weights, write them into the folder; None in a process that does not lead."""
    train_set, val_set = banks.train.dataset, banks.val.dataset
    parts = Parts(progress, config.epochs * len(train_set.samples) + len(val_set.samples))
    training = parts.part(config.epochs * len(train_set.samples), "training")
    done = train_network(
        start.network, banks.train, config, val_set=banks.val if config.eval_every else None, progress=training,
        say=say, state_file=folder / TRAIN_STATE, on_epoch=on_epoch,
    )  # fmt: skip
    if not leads():
        return None
    start.network.load_state_dict(done.state)
    scoring = EvalConfig(imgsz=config.imgsz, batch=config.batch, device=config.device)
    step = parts.part(len(val_set.samples), "scoring")
    found = done.evaluation or evaluate(deploy(start.network), banks.val, scoring, step)
    write_safetensors(folder / RUN_WEIGHTS, done.state, metadata(opened.layout, train_set.classes, config.imgsz))
    result = TrainResult(
        model=opened.name,
        **found.to_dict(),
        origin=made,
        ap_se=match(val_set.samples, found.detections, len(val_set.classes)).standard_error(),
        images_per_s=done.images_per_s,
        epochs=config.epochs,
        peak_memory_mb=done.peak_memory_mb,
        seconds=done.seconds,
        history=done.history,
        transfer=start.line,
        transfer_layers=start.transfer,
        files={"weights": str(folder / RUN_WEIGHTS)},
        notes=done.notes,
    )
    return result
