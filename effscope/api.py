"""The Python API: the commands by the same names, with the same arguments, giving result objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effscope.config import (
    EvalConfig,
    LayerCostConfig,
    RankConfig,
    ScaleConfig,
    SearchConfig,
    TrainConfig,
    check,
    settled,
    to_dict,
)
from effscope.errors import EffscopeError
from effscope.files import make_folder
from effscope.models import open_layout, open_model
from effscope.progress import Parts, Progress, Say, duration, silent, unsaid
from effscope.results import (
    CostResult,
    DiffResult,
    EvalResult,
    ExportResult,
    LayerCostResult,
    RankResult,
    ScaleResult,
    SearchResult,
    TensorsResult,
    TrainResult,
    ZooResult,
    origin,
)

if TYPE_CHECKING:
    from torch.nn import Module


def rank(
    model: str | Module,
    at: str = "stage",
    threshold: float | str = 0.5,
    fold_bn: bool = True,
    activations: str | None = None,
    limit: int = 64,
    imgsz: int | None = None,
    centred: bool = True,
    progress: Progress = silent,
    say: Say = unsaid,
) -> RankResult:
    """Numerical rank of each stage of a model, ascending.

    Args:
        model: zoo name, layout YAML, weights file, run folder, torchvision:NAME, timm:NAME, or a torch module.
        at: "stage" (the stage's closing conv), "block" (the last conv of its last block) or "all" convolutions.
        threshold: a singular value counts above this fraction of the largest; or "energy:0.9" (the fewest that hold
            that share of the squares), "eps" (above rounding in the stored dtype), "mp" (above the Marchenko-Pastur
            edge of noise).
        fold_bn: fold the batch norm into the weight first.
        activations: a data set: rank the outputs over its pictures instead of the weights, and measure the heads of
            attention layers.
        limit: how many pictures of it (train split) are shown.
        imgsz: their size in px; by default what the model was trained at, else 640.
        centred: rank activations about their mean.
        progress: told the fraction done and a text.
        say: told the faults of the data.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.models import rank_model  # noqa: PLC0415 - imports torch
    from effscope.ranking.thresholds import read_threshold  # noqa: PLC0415 - imports numpy

    check({"at": at, "limit": limit, "imgsz": imgsz}, detector=False)
    if activations is None and not centred:
        raise EffscopeError("--uncentred is about activations: give --activations DATA")
    config = RankConfig(at, read_threshold(threshold).spelling, fold_bn, centred)
    opened = open_model(model, imgsz)
    check({"imgsz": imgsz}, detector=opened.architecture is not None)
    images, of = None, "weights"
    if activations is not None:
        from effscope.runs import pictures  # noqa: PLC0415

        side = imgsz or opened.imgsz or 640
        images = pictures(activations, limit, side, progress, say)
        of = f"activations over {len(images)} training images of {activations} at {side} px"
    weights = "random" if opened.state is None else "checkpoint"
    return rank_model(opened, config, weights=weights, of=of, images=images)


def ranks(models: Sequence[str | Module], progress: Progress = silent, **settings: Any) -> tuple[RankResult, ...]:
    """`rank` of several models, as `effscope rank A B ...` does; each result has the others' orders in `stability`.

    Models of one name are called as they were given (`runs/a/best.pt`).

    Args:
        models: what `rank` takes, at least one.
        progress: told the fraction done and a text.
        settings: further arguments of `rank`, the same for all.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.stability import across, named_apart  # noqa: PLC0415 - imports numpy

    if not models:
        raise EffscopeError("no model to rank: give at least one")
    parts = Parts(progress if settings.get("activations") else silent, len(models))
    found = [rank(model, progress=parts.part(1, str(model)), **settings) for model in models]
    return across(named_apart(found, [str(model) for model in models]))


def cost(model: str | Module, imgsz: int | None = None) -> CostResult | TensorsResult:
    """Exact parameters, MACs, FLOPs and bytes of a model on one square image; parameters alone of weights whose
    architecture is not known. Imports no torch for zoo names and YAML.

    Args:
        model: zoo name, layout YAML, weights file, run folder, torchvision:NAME, timm:NAME, or a torch module.
        imgsz: side of the image in px; by default 640, for torchvision and timm what the model is made for.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.model_cost import cost_graph, cost_of_tensors  # noqa: PLC0415

    check({"imgsz": imgsz}, detector=False)
    opened = open_layout(model, imgsz)
    check({"imgsz": imgsz}, detector=opened.architecture is not None)
    side = imgsz or (opened.imgsz if opened.module is not None and opened.imgsz else 640)
    outline = replace(opened.outline, model=opened.name)
    return cost_graph(opened.graph, outline, side) if opened.graph.views else cost_of_tensors(opened.graph, outline)


def layer_cost(
    layer: str, cin: int = 256, cout: int = 0, stride: int = 2, size: int = 80, symbolic: bool = False
) -> LayerCostResult:
    """One convolution against its cheaper forms: `effscope cost --layer`. Raises EffscopeError for bad input."""
    from effscope.costing.forms import layer_cost as compare  # noqa: PLC0415

    return compare(LayerCostConfig(layer, cin, cout, stride, size, symbolic))


def scaled_cost(
    scale: str,
    phi: str = "0..3",
    depth: float = 1.2,
    width: float = 1.1,
    resolution: float = 1.15,
    imgsz: int | None = None,
) -> ScaleResult:
    """Compound scaling of a model: `effscope cost --scale`.

    Args:
        scale: zoo name or layout YAML.
        phi: exponents, `1..3` or `0,2`.
        depth: repeats grow by it each step.
        width: channels grow by it each step.
        resolution: the image side grows by it each step.
        imgsz: side of the base's image in px, 640 unless given.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.costing.scaling import scaling  # noqa: PLC0415

    check({"imgsz": imgsz})
    return scaling(open_layout(scale).layout, ScaleConfig(scale, phi, depth, width, resolution, imgsz or 640))


def diff(a: str | Module, b: str | Module, imgsz: int | None = None) -> DiffResult:
    """What each stage costs in one model and in another, at one image size.

    Args:
        a: a MODEL, as `cost` takes it.
        b: another one.
        imgsz: side of the image in px for both; by default 640, or what `a` is made for.

    Raises:
        EffscopeError: bad input, in one line; a model of which only tensors are known.
    """
    from effscope.costing.difference import difference  # noqa: PLC0415

    first = cost(a, imgsz)
    second = cost(b, first.imgsz if isinstance(first, CostResult) else imgsz)
    if not isinstance(first, CostResult) or not isinstance(second, CostResult):
        raise EffscopeError("only parameters are known of one of them: its stages cannot be compared")
    return difference(first, second)


def zoo(pattern: str = "", backbones: bool = False, progress: Progress = silent) -> ZooResult:
    """The built-in models beside their published figures.

    Args:
        pattern: only names that contain this text.
        backbones: the classification backbones of the notes instead, imported from torchvision and timm.
        progress: told the fraction done and a text.

    Raises:
        EffscopeError: no name contains the pattern.
    """
    from effscope.costing.listing import list_backbones, list_zoo  # noqa: PLC0415

    return list_backbones(progress) if backbones else list_zoo(pattern, progress)


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
        say: told the faults of the data and, before a training, the plan.

    Raises:
        EffscopeError: bad input, no weights, or no class in common.
    """
    from effscope.data.check import decodable  # noqa: PLC0415
    from effscope.data.load import load  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.nn.fuse import deploy  # noqa: PLC0415
    from effscope.runs import in_terms_of, say_faults  # noqa: PLC0415

    opened = open_model(model)
    if opened.state is None:
        raise EffscopeError(f"{model} has no weights to evaluate: give a weights file or a run folder")
    check({"imgsz": imgsz, "batch": batch, "limit_val": limit_val})
    config = EvalConfig(imgsz=imgsz or opened.imgsz or 640, batch=batch, device=device)
    loaded = decodable(load(data, split, limit_val))
    say_faults(loaded, say)
    dataset = in_terms_of(loaded, opened, say)
    found = evaluate(deploy(opened.network()), dataset, config, progress)
    made = origin(to_dict(config), opened.layout.digest(), dataset.digest)
    result = EvalResult(model=opened.name, **found.to_dict(), origin=made)
    if out is not None:
        from effscope.reporting.folder import write_eval  # noqa: PLC0415

        write_eval(Path(out), result, dataset, found.detections, opened.classes or dataset.classes)
    return result


def export(
    model: str, to: str | Sequence[str] = "safetensors", out: str | Path = "export", imgsz: int | None = None
) -> ExportResult:
    """Hand a model on in the forms other tools take.

    Args:
        model: zoo name, layout YAML, weights file or run folder.
        to: formats, a list or one text with commas: yaml (Ultralytics' layout), pt (`ultralytics.YOLO(...)` opens it
            and goes on training, and a plain state dict), safetensors, onnx (decoded, checked in onnxruntime).
        out: the folder.
        imgsz: side in px; by default what the model was trained at, else 640.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.exporting.formats import export as write  # noqa: PLC0415 - imports torch

    check({"imgsz": imgsz})
    formats = [part.strip() for part in to.split(",")] if isinstance(to, str) else list(to)
    return write(open_model(model), formats, Path(out), imgsz)


def train(
    model: str,
    *,
    weights: str | None = None,
    out: str | Path | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
    **settings: Any,
) -> TrainResult:
    """Train a detector and score its last averaged weights on the validation split.

    Args:
        model: zoo name, layout YAML, weights file or run folder; weights it brings are the start.
        weights: a weights file to start from, joined by name and shape.
        out: folder; the same settings find the same folder, and a stopped training goes on.
        progress: told the fraction done and a text.
        say: told the faults of the data and, before a training, the plan.
        settings: fields of `config.TrainConfig` (data, imgsz, epochs, batch, seed, device, limit_train, limit_val);
            what is missing or None comes from `config.PROXIES`.

    Raises:
        EffscopeError: bad input, in one line.
    """
    from effscope.detect.speed import training_images_per_s  # noqa: PLC0415
    from effscope.nn.precision import pick_device  # noqa: PLC0415
    from effscope.reporting.folder import write_train  # noqa: PLC0415
    from effscope.runs import (  # noqa: PLC0415
        TRAIN_STATE,
        finished_training,
        load_splits,
        run_folder,
        started,
        trained,
        training_origin,
    )

    config = settled(TrainConfig, settings)
    pick_device(config.device)
    folder = run_folder("train", " ".join(filter(None, (model, weights))), config.data, config, out)
    opened = open_model(model)
    splits = load_splits(config, say)
    opened = replace(opened, architecture=replace(opened.layout, nc=len(splits.train.classes)))
    network, transfer = started(opened, model, weights, config.seed)
    make_folder(folder)
    made = training_origin(config, opened, network, splits)
    finished = finished_training(folder, made)
    if finished is not None:
        return finished
    speed = training_images_per_s(network, config.imgsz, config.batch, config.device)
    n = len(splits.train.samples)
    say(
        f"plan: {opened.name} for {config.epochs} epochs on {n} images at {config.imgsz} px, batch {config.batch}, "
        f"seed {config.seed}: about {duration(config.epochs * n / speed)} here; into {folder}"
    )
    result = write_train(folder, trained(network, opened, splits, config, folder, transfer, made, progress))
    (folder / TRAIN_STATE).unlink(missing_ok=True)
    return result


def search(
    base: str = "yolov8n",
    *,
    out: str | Path | None = None,
    progress: Progress = silent,
    say: Say = unsaid,
    **settings: Any,
) -> SearchResult:
    """Find redundant stages, swap them for compact blocks, keep what does not cost AP.

    Args:
        base: zoo name, layout YAML, weights file or run folder.
        out: folder; the same settings find the same folder, and a stopped search goes on.
        progress: told the fraction done and a text.
        say: told the faults of the data and, before a training, the plan.
        settings: fields of `config.SearchConfig` (weights, data, move, head, rule, margin, imgsz, base_epochs, epochs,
            batch, seed, ...); what is missing or None has its default, sizes from `config.PROXIES`.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: bad input, in one line.
    """
    from effscope.ranking.thresholds import read_threshold  # noqa: PLC0415
    from effscope.reporting.search_folder import write_search  # noqa: PLC0415
    from effscope.runs import given_base, load_splits, run_folder  # noqa: PLC0415
    from effscope.searching.run import search as run  # noqa: PLC0415

    config = settled(SearchConfig, {"base": base, **settings})
    read_threshold(config.threshold)
    folder = run_folder("search", config.base, config.data, config, out)
    given = given_base(config)
    splits = load_splits(config, say)
    return write_search(folder, run(config, given, splits, folder, progress, say))
