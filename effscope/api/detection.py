"""`eval`: AP of a detector. `compare`: whether one detector is as good as another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.api.progress_line import shown
from effscope.config import EvalConfig, at_least, check_imgsz, fraction
from effscope.config.checks import one_of
from effscope.data.naming import look_up_data
from effscope.errors import EffscopeError
from effscope.models.naming import look_up, no_weights
from effscope.models.open import USUAL_SIZE, open_model
from effscope.models.opened import colour_model
from effscope.progress import Auto, Progress, Say
from effscope.results import CompareResult, EvalResult, origin

if TYPE_CHECKING:
    from effscope.models.opened import Model
    from effscope.timing.deployed import Deployed


def eval(
    model: str,
    data: str,
    imgsz: int | None = None,
    batch: int = 16,
    device: str = "auto",
    split: str = "val",
    limit_val: int | None = None,
    out: str | Path | None = None,
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
    errors: bool = False,
    convention: str = "coco",
    runtime: str | None = None,
) -> EvalResult:
    """COCO AP of a detector on a data set; precision, recall, F1 and the confusion matrix at its best score cut.

    Precision, recall and F1 are at IoU .5 and the score with the largest mean F1 over the classes, smoothed over a
    tenth of all scores: the definition of Ultralytics' `val`. The result says the score.

    Args:
        model: weights file or run folder.
        data: data set.
        imgsz: long side of the image in px; default: the size in training, else 640.
        batch: images per forward pass.
        device: auto, cpu, cuda or cuda:N.
        split: "train", "val" or "test".
        limit_val: maximum number of images, spread evenly over the split.
        out: a folder for the result, tables and plots, AP by image, the detections and drawn examples; `files` of the
            result lists them.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        say: "auto" (lines above the bar, if there is one), None, or called with each fault of the data.
        errors: count the errors by kind, and compute the AP without each kind.
        convention: "coco", or "ultralytics" for AP near that of its `val`: half a stride more padding, and
            boxes are not clipped to the image.
        runtime: "torch", or "onnx": onnxruntime runs and times the detector on the CPU, with images padded to squares,
            as deployed. An ONNX file, also in int8 or of another tool, is then run as it is. Default: onnx for an ONNX
            file, else torch.

    Raises:
        EffscopeError: bad input, no weights, or no class in common.
    """
    if limit_val is not None:
        at_least(1)("limit_val", limit_val)
    check_imgsz(imgsz)
    look_up(model, trained=True)
    look_up_data(data)
    detector = _deployed(model, imgsz, device, runtime)
    runs = "torch" if detector.graph is None else "onnx"
    if runs == "onnx" and convention == "ultralytics":
        raise EffscopeError("an ONNX graph reads squares of one size; `convention` ultralytics pads more: leave it out")
    config = EvalConfig(
        imgsz=detector.imgsz, batch=batch, device=device if runs == "torch" else "cpu", convention=convention,
        runtime=runs,
    )  # fmt: skip
    with shown(progress, say) as (report, tell):
        if detector.selects:
            tell(f"{detector.name} selects its detections itself: AP counts only those")
        return _scored(detector, data, split, limit_val, config, out, errors, report, tell)


def _deployed(model: str, imgsz: int | None, device: str, runtime: str | None) -> Deployed:
    from effscope.exporting.graph_detector import graph_size  # noqa: PLC0415 - imports torch
    from effscope.timing.deployed import graph_file, in_onnxruntime, in_torch  # noqa: PLC0415

    if runtime is not None:
        one_of("torch", "onnx")("runtime", runtime)
    is_graph = Path(model).suffix.lower() == ".onnx" and Path(model).is_file()
    if is_graph and runtime != "torch":
        return graph_file(Path(model), imgsz, device)
    opened = _with_weights(model)
    if is_graph:
        imgsz = imgsz or graph_size(Path(model))
    return in_onnxruntime(opened, imgsz, device) if runtime == "onnx" else in_torch(opened, imgsz)


def compare(
    a: str | Sequence[str],
    b: str | Sequence[str],
    data: str,
    imgsz: int | None = None,
    batch: int = 16,
    device: str = "auto",
    split: str = "val",
    limit_val: int | None = None,
    margin: float = 0.01,
    out: str | Path | None = None,
    progress: Progress | Auto | None = "auto",
    say: Say | Auto | None = "auto",
) -> CompareResult:
    """Judge whether detector B is as good as detector A on a data set, with an interval of the difference in AP.

    The interval has the noise of the images, which both sides share, and the noise of training: give several weights
    files a side, from trainings with different seeds. With one file a side, it has the noise of the images alone.

    Args:
        a, b: the weights files or run folders of each side: a list, one text with commas, or a pattern ("runs/a-*").
        data: data set.
        imgsz: long side of the image in px; default: the size in training of the first file, else 640.
        batch: images per forward pass.
        device: auto, cpu, cuda or cuda:N.
        split: "train", "val" or "test".
        limit_val: maximum number of images, spread evenly over the split.
        margin: allowed loss of AP, a fraction.
        out: a folder for the result.
        progress: "auto" (a bar on a terminal and in a notebook), None, or called with the fraction done and a text.
        say: "auto" (lines above the bar, if there is one), None, or called with each fault of the data.

    Raises:
        EffscopeError: bad input, no weights, or files that know different classes of the data.
    """
    fraction("margin", margin)
    check_imgsz(imgsz)
    if limit_val is not None:
        at_least(1)("limit_val", limit_val)
    from effscope.searching.sides import named, told_apart  # noqa: PLC0415

    files = [named(side) for side in (a, b)]
    look_up(*files[0], *files[1], trained=True)
    look_up_data(data)
    from effscope.reporting.write import publish  # noqa: PLC0415 - imports torch
    from effscope.searching.compare import compare as compared  # noqa: PLC0415
    from effscope.searching.compare import other_sizes  # noqa: PLC0415

    short = dict(zip((*files[0], *files[1]), told_apart((*files[0], *files[1])), strict=True))
    sides = [[replace(_with_weights(name), name=short[name]) for name in side] for side in files]
    config = EvalConfig(imgsz=imgsz or sides[0][0].imgsz or USUAL_SIZE, batch=batch, device=device)
    notes = () if imgsz else other_sizes((sides[0], sides[1]), config.imgsz)
    with shown(progress, say) as (report, tell):
        for note in notes:
            tell(note)
        result = replace(
            compared((sides[0], sides[1]), data, split, limit_val, config, margin, report, tell), notes=notes
        )
    return result if out is None else publish(result, Path(out))


def _with_weights(name: str) -> Model:
    opened = colour_model(open_model(name))
    if opened.state is None:
        raise no_weights(name)
    return opened


def _scored(
    detector: Deployed,
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
    from effscope.detect.by_class import class_fields, curves  # noqa: PLC0415
    from effscope.detect.confusion import confusion  # noqa: PLC0415
    from effscope.detect.error_analysis import error_analysis  # noqa: PLC0415
    from effscope.detect.evaluate import evaluate  # noqa: PLC0415
    from effscope.detect.resampling import match  # noqa: PLC0415

    labelled = check_boxes(load(data, split, limit))
    given = in_model_classes(labelled, detector.classes, detector.nc, detector.name, say)
    found = evaluate(detector.network, given, config, progress)
    dataset = found.dataset or given
    say_faults(dataset, say)
    made = origin(config, detector.digest, {split: dataset.digest})
    judged = (dataset.samples, found.detections, dataset.classes)
    matches = match(dataset.samples, found.detections, len(dataset.classes))
    by_class = class_fields(found, matches, dataset.classes)
    cut = by_class.get("score_cut")
    matrix, at_cut = (None, None) if cut is None else confusion(*judged, cut, labelled.classes)
    kinds = error_analysis(*judged, found, at_cut) if errors else ()
    timed = detector.timed(say)
    result = EvalResult(
        model=detector.name, **found.to_dict(), origin=made, errors=kinds, ap_se=matches.standard_error(), **by_class,
        data=data, split=split, curves=curves(found, matches, dataset.classes), confusion=matrix,
        latency=timed.latency[detector.name] if timed else None, runtime=timed.runtime if timed else "",
        threads=timed.threads if timed else 1,
    )  # fmt: skip
    if out is not None:
        from effscope.detect.examples import write_examples  # noqa: PLC0415
        from effscope.reporting.write import publish  # noqa: PLC0415

        names = detector.classes or dataset.classes
        files = write_examples(Path(out), dataset, found.detections, matches.per_image(), names, cut)
        result = publish(replace(result, files=files), Path(out))
    return result
