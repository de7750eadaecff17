"""The Python API: the commands by the same names, with the same arguments, giving result objects."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.config import (
    BUILTIN_SHAPES,
    EvalConfig,
    LayerCostConfig,
    RankConfig,
    SearchConfig,
    TrainConfig,
    check,
    settled,
    to_dict,
)
from effscope.errors import EffscopeError
from effscope.models import RUN_WEIGHTS, Model, metadata, open_layout, open_model
from effscope.progress import Progress, silent
from effscope.results import (
    TRAIN_RESULT,
    CostResult,
    EvalResult,
    LayerCostResult,
    RankResult,
    SearchResult,
    TrainResult,
    ZooResult,
    origin,
)

if TYPE_CHECKING:
    from effscope.data.sample import DataSet, Splits
    from effscope.nn.build import Network

RUNS = Path("runs")


def _run_folder(kind: str, model: str, data: str, config: Any, out: str | Path | None) -> Path:
    """The folder of a run: `out`, or one whose name follows from the settings, so that the same command finds it."""
    if out is not None:
        return Path(out)
    settings = json.dumps(to_dict(config), sort_keys=True)
    place = Path(data)
    subject = "shapes" if data == BUILTIN_SHAPES else place.resolve().parent.name if place.suffix else place.name
    tag = hashlib.sha256(f"{model} {settings}".encode()).hexdigest()[:6]
    return RUNS / f"{kind}-{Path(model).stem}-{subject}-{tag}"


def rank(
    model: str,
    at: str = "stage",
    threshold: float = 0.5,
    fold_bn: bool = True,
    activations: str | None = None,
    limit: int = 64,
    imgsz: int | None = None,
) -> RankResult:
    """Numerical rank of each stage of a model, ascending.

    Args:
        model: zoo name, layout YAML, weights file or run folder.
        at: "stage" (the stage's closing conv) or "block" (the last conv of its last block).
        threshold: a singular value counts above this fraction of the largest.
        fold_bn: fold the batch norm into the weight first.
        activations: a data set: rank the outputs over its pictures instead of the weights.
        limit: how many pictures of it (train split) are shown.
        imgsz: their size in px; by default what the model was trained at, else 640.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.analyze import rank as rank_network  # noqa: PLC0415 - imports torch

    check({"at": at, "threshold": threshold, "limit": limit, "imgsz": imgsz})
    opened = open_model(model)
    network = opened.network()
    images = None
    if activations is not None:
        images = _images(activations, limit, imgsz or opened.imgsz or 640)
    weights = "random" if opened.state is None else "checkpoint"
    config = RankConfig(at, threshold, fold_bn)
    result = rank_network(network, opened.layout, config, weights=weights, source=opened.source, images=images)
    return replace(result, model=opened.name)


def _images(data: str, limit: int, imgsz: int) -> Any:
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.detect.batches import load_bank, plain_batch  # noqa: PLC0415
    from effscope.nn.precision import pick_device  # noqa: PLC0415

    bank = load_bank(load(data, "train", limit), imgsz)
    return (plain_batch(bank, [i], pick_device("cpu")).images for i in range(len(bank.pictures)))


def cost(model: str, imgsz: int = 640) -> CostResult:
    """Exact parameters, MACs, FLOPs and bytes of a model on one square image of `imgsz` px. Imports no torch for
    zoo names and YAML. Raises EffscopeError for bad input."""
    from effscope.costing.estimate import cost as cost_layout  # noqa: PLC0415

    check({"imgsz": imgsz})
    opened = open_layout(model)
    return replace(cost_layout(opened.layout, imgsz), model=opened.name)


def layer_cost(
    layer: str, cin: int = 256, cout: int = 0, stride: int = 2, size: int = 80, symbolic: bool = False
) -> LayerCostResult:
    """One convolution against its cheaper forms: `effscope cost --layer`. Raises EffscopeError for bad input."""
    from effscope.costing.forms import layer_cost as compare  # noqa: PLC0415

    return compare(LayerCostConfig(layer, cin, cout, stride, size, symbolic))


def zoo() -> ZooResult:
    """Cost of every built-in model at 640 px."""
    from effscope.families.catalog import ZOO  # noqa: PLC0415

    return ZooResult(tuple(cost(name) for name in ZOO))


def in_terms_of(dataset: DataSet, opened: Model) -> DataSet:
    """The data with labels that mean the model's classes, matched by name; boxes of other classes are left out.

    Raises:
        EffscopeError: no class in common, or a model without names whose class count differs.
    """
    from effscope.data.sample import relabelled  # noqa: PLC0415

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
        out: a folder for the result, the detections and pictures of them.
        progress: told the fraction done and a text.

    Raises:
        EffscopeError: bad input, no weights, or no class in common.
    """
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.nn.fuse import deploy  # noqa: PLC0415

    opened = open_model(model)
    if opened.state is None:
        raise EffscopeError(f"{model} has no weights to evaluate: give a weights file or a run folder")
    check({"imgsz": imgsz, "batch": batch, "limit_val": limit_val})
    config = EvalConfig(imgsz=imgsz or opened.imgsz or 640, batch=batch, device=device)
    dataset = in_terms_of(load(data, split, limit_val), opened)
    found = evaluate(deploy(opened.network()), dataset, config, progress)
    made = origin(to_dict(config), opened.layout.digest(), dataset.digest)
    result = EvalResult(model=opened.name, **found.to_dict(), origin=made)
    if out is not None:
        from effscope.reporting.folder import write_eval  # noqa: PLC0415

        write_eval(Path(out), result, dataset, found.detections, opened.classes or dataset.classes)
    return result


def train(
    model: str,
    *,
    weights: str | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> TrainResult:
    """Train a detector and score its last averaged weights on the validation split.

    Args:
        model: zoo name, layout YAML, weights file or run folder; weights it brings are the start.
        weights: a weights file to start from, joined by name and shape.
        out: folder; the same settings find the same folder, and a stopped training goes on.
        progress: told the fraction done and a text.
        settings: fields of `config.TrainConfig` (data, imgsz, epochs, batch, seed, device, limit_train, limit_val);
            what is missing or None comes from `config.PROXIES`.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.reporting.folder import write_train  # noqa: PLC0415

    config = settled(TrainConfig, settings)
    folder = _run_folder("train", weights or model, config.data, config, out)
    opened = open_model(model)
    splits = _splits(config)
    opened = replace(opened, layout=replace(opened.layout, nc=len(splits.train.classes)))
    finished = _finished(folder, config, splits.train.digest)
    if finished is not None:
        return finished
    network, transfer = _started(opened, model, weights, config.seed)
    return write_train(folder, _trained(network, opened, splits, config, folder, transfer, progress))


def _finished(folder: Path, config: TrainConfig, digest: str) -> TrainResult | None:
    """The result of this very training if the folder holds it; EffscopeError if it holds another one."""
    file = folder / TRAIN_RESULT
    if not file.exists():
        return None
    found = TrainResult.load(file)
    if (found.origin.config, found.origin.data) != (to_dict(config), digest):
        raise EffscopeError(f"{folder} holds another training: choose another --out or delete it")
    return found


def _started(opened: Model, model: str, weights: str | None, seed: int) -> tuple[Network, str]:
    """The network to train, and one line on what it inherited."""
    from effscope.expand import expand  # noqa: PLC0415
    from effscope.nn.build import build  # noqa: PLC0415
    from effscope.nn.inherit import inherit  # noqa: PLC0415

    network = build(expand(opened.layout), seed)
    given = open_model(weights) if weights else open_model(model)
    if given.state is None:
        if weights:
            raise EffscopeError(f"{weights} holds no weights: give a weights file or a run folder")
        return network, ""
    return network, f"weights of {given.name}: {inherit(network, opened.layout, given.layout, given.state).summary()}"


def _trained(
    network: Network,
    opened: Model,
    splits: Splits,
    config: TrainConfig,
    folder: Path,
    transfer: str,
    progress: Progress,
) -> TrainResult:
    from effscope.checkpoint.write import write_safetensors  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.detect.train import train as train_network  # noqa: PLC0415
    from effscope.nn.fuse import deploy  # noqa: PLC0415

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


def search(
    base: str = "yolov8n", *, out: str | Path | None = None, progress: Progress = silent, **settings: Any
) -> SearchResult:
    """Find redundant stages, swap them for compact blocks, keep what does not cost AP.

    Args:
        base: zoo name, layout YAML, weights file or run folder.
        out: folder; the same settings find the same folder, and a stopped search goes on.
        progress: told the fraction done and a text.
        settings: fields of `config.SearchConfig` (weights, data, move, head, rule, margin, imgsz, base_epochs, epochs,
            batch, seed, ...); what is missing or None has its default, sizes from `config.PROXIES`.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: bad input, in one line.
    """
    from effscope.reporting.folder import write_search  # noqa: PLC0415
    from effscope.searching.run import search as run  # noqa: PLC0415

    config = settled(SearchConfig, {"base": base, **settings})
    folder = _run_folder("search", config.base, config.data, config, out)
    given = _given(config)
    return write_search(folder, run(config, given, _splits(config), folder, progress))


def _given(config: SearchConfig) -> Model:
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


def _splits(config: SearchConfig | TrainConfig) -> Splits:
    """Train and validation split, without pictures that cannot be decoded."""
    from effscope.data.check import decodable  # noqa: PLC0415
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.data.sample import Splits  # noqa: PLC0415

    limits = {"train": config.limit_train, "val": config.limit_val}
    return Splits(**{split: decodable(load(config.data, split, limit)) for split, limit in limits.items()})
