"""What a run needs before it starts and leaves when it ends: its folder, its data, its base, its training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.checkpoint.write import write_safetensors
from effscope.config import BUILTIN_SHAPES, EvalConfig, SearchConfig, TrainConfig, to_dict
from effscope.data.check import decodable, fault_lines
from effscope.data.load import load
from effscope.data.sample import DataSet, Splits, relabelled
from effscope.detect.batches import load_bank, plain_batch
from effscope.detect.evaluate import evaluate
from effscope.detect.train import train as train_network
from effscope.errors import EffscopeError
from effscope.expand import expand
from effscope.models import RUN_WEIGHTS, Model, metadata, open_model
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy
from effscope.nn.inherit import inherit
from effscope.nn.precision import pick_device
from effscope.progress import Progress, Say
from effscope.results import TRAIN_RESULT, TrainResult, origin

if TYPE_CHECKING:
    from torch import Tensor

RUNS = Path("runs")


def run_folder(kind: str, model: str, data: str, config: Any, out: str | Path | None) -> Path:
    """The folder of a run: `out`, or one whose name follows from the settings, so that the same command finds it."""
    if out is not None:
        return Path(out)
    settings = json.dumps(to_dict(config), sort_keys=True)
    place = Path(data)
    subject = "shapes" if data == BUILTIN_SHAPES else place.resolve().parent.name if place.suffix else place.name
    tag = hashlib.sha256(f"{model} {settings}".encode()).hexdigest()[:6]
    return RUNS / f"{kind}-{Path(model).stem}-{subject}-{tag}"


def pictures(data: str, limit: int, imgsz: int) -> Iterator[Tensor]:
    """The first training pictures of a set as the network takes them, one batch (1, 3, imgsz, imgsz) each."""
    bank = load_bank(load(data, "train", limit), imgsz)
    return (plain_batch(bank, [i], pick_device("cpu")).images for i in range(len(bank.pictures)))


def in_terms_of(dataset: DataSet, opened: Model) -> DataSet:
    """The data with labels that mean the model's classes, matched by name; boxes of other classes are left out.

    Raises:
        EffscopeError: no class in common, or a model without names whose class count differs.
    """
    if opened.classes is None:
        if opened.layout.nc != len(dataset.classes):
            raise EffscopeError(
                f"{opened.name} has {opened.layout.nc} unnamed classes, {dataset.source} has "
                f"{len(dataset.classes)}: give a weights file that names its classes"
            )
        return dataset
    if not set(opened.classes) & set(dataset.classes):
        raise EffscopeError(
            f"{opened.name} and {dataset.source} have no class in common: the model knows "
            f"{', '.join(opened.classes[:5])}, ...; the data {', '.join(dataset.classes[:5])}"
        )
    return relabelled(dataset, opened.classes)


def given_base(config: SearchConfig) -> Model:
    """The base, with the weights of a second file if one is named."""
    given = open_model(config.base)
    if config.weights is None:
        return given
    weights = open_model(config.weights)
    if weights.state is None:
        raise EffscopeError(f"{config.weights} holds no weights: give a weights file or a run folder")
    if weights.layout.scale != given.layout.scale or len(weights.layout.layers) != len(given.layout.layers):
        raise EffscopeError(
            f"{config.weights} is a {weights.layout.name}, --base is {given.layout.name}: give weights of the base"
        )
    return weights


def load_splits(config: SearchConfig | TrainConfig, say: Say) -> Splits:
    """Train and validation split, without pictures that cannot be decoded."""
    limits = {"train": config.limit_train, "val": config.limit_val}
    train_set, val_set = (decodable(load(config.data, split, limit)) for split, limit in limits.items())
    for dataset in (train_set, val_set):
        say_faults(dataset, say)
    if val_set.classes != train_set.classes:
        val_set = relabelled(val_set, train_set.classes)
    return Splits(train_set, val_set)


def say_faults(dataset: DataSet, say: Say) -> None:
    """Tell what was wrong with a split, a line per kind."""
    for line in fault_lines(dataset):
        say(f"{dataset.split}: {line}")


def finished_training(folder: Path, config: TrainConfig, layout: str, data: str) -> TrainResult | None:
    """The result of this very training if the folder holds it; EffscopeError if it holds another one."""
    file = folder / TRAIN_RESULT
    if not file.exists():
        return None
    found = TrainResult.load(file)
    if (found.origin.config, found.origin.layout, found.origin.data) != (to_dict(config), layout, data):
        raise EffscopeError(f"{folder} holds another training: choose another --out or delete it")
    return found


def started(opened: Model, model: str, weights: str | None, seed: int) -> tuple[Network, str]:
    """The network to train, and one line on what it inherited."""
    network = build(expand(opened.layout), seed)
    given = open_model(weights) if weights else open_model(model)
    if given.state is None:
        if weights:
            raise EffscopeError(f"{weights} holds no weights: give a weights file or a run folder")
        return network, ""
    return network, f"weights of {given.name}: {inherit(network, opened.layout, given.layout, given.state).summary()}"


def trained(
    network: Network,
    opened: Model,
    splits: Splits,
    config: TrainConfig,
    folder: Path,
    transfer: str,
    progress: Progress,
) -> TrainResult:
    """Train, score the last averaged weights, write them into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / "training.state"
    done = train_network(network, splits.train, config, progress=progress, state_file=state_file)
    network.load_state_dict(done.state)
    scoring = EvalConfig(imgsz=config.imgsz, batch=config.batch, device=config.device)
    found = evaluate(deploy(network), splits.val, scoring, progress)
    write_safetensors(folder / RUN_WEIGHTS, done.state, metadata(opened.layout, splits.train.classes, config.imgsz))
    result = TrainResult(
        model=opened.name,
        **found.to_dict(),
        origin=origin(to_dict(config), opened.layout.digest(), splits.train.digest, (config.seed,)),
        images_per_s=done.images_per_s,
        epochs=config.epochs,
        peak_memory_mb=done.peak_memory_mb,
        seconds=done.seconds,
        history=done.history,
        transfer=transfer,
        files={"weights": str(folder / RUN_WEIGHTS)},
    )
    state_file.unlink(missing_ok=True)
    return result
