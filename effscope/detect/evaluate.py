"""COCO average precision of a detector on a split."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from effscope.config import EvalConfig
from effscope.data.check import Broken, none_readable, without
from effscope.data.read import read_image
from effscope.data.sample import DataSet, Sample
from effscope.detect.bank import Bank, bank_inputs
from effscope.detect.image_order import image_ids
from effscope.detect.predict import CONVENTIONS, Detections, detect, detect_inputs
from effscope.errors import EffscopeError, counted
from effscope.nn.build import Network
from effscope.progress import Progress

T = TypeVar("T")

_STATS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")


@dataclass(frozen=True)
class Evaluation:
    """Average precision by COCO's rule: 101 recalls, at most 100 detections per image and class. Fractions 0-1.

    Attributes:
        ap: mean over IoU .50-.95 and over the classes with ground-truth boxes.
        ap50: at IoU .50.
        ap75: at IoU .75.
        ap_s: for boxes below 32^2 square px of the original image; None without such ground-truth boxes.
        ap_m: for boxes of 32^2 to 96^2 square px.
        ap_l: for boxes above 96^2 square px.
        per_class: class name -> its ap, for classes with ground-truth boxes.
        images: number of scored images.
        boxes: ground-truth boxes in them.
        detections: one entry per scored image.
        dataset: the scored images; its faults count the unreadable images.
        precision50: class name -> float64 (101,), largest precision at IoU .50 with at least recall 0, .01, ... 1; its
            mean is the class's AP at IoU .50.
    """

    ap: float
    ap50: float
    ap75: float
    ap_s: float | None
    ap_m: float | None
    ap_l: float | None
    per_class: Mapping[str, float]
    images: int
    boxes: int
    detections: tuple[Detections, ...] = ()
    dataset: DataSet | None = None
    precision50: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The scores and counts, ready for JSON."""
        stats = {name: getattr(self, name) for name in _STATS}
        return {**stats, "per_class": dict(self.per_class), "images": self.images, "boxes": self.boxes}


def evaluate(
    network: Network, data: DataSet | Bank, config: EvalConfig, progress: Progress | None = None
) -> Evaluation:
    """Detect in every image of a split and score the detections.

    Args:
        network: a network with the view `decoded`; the deploy form is fastest.
        data: label k is class k of the network; a bank of `config.imgsz` avoids decoding the images again.
        config: settings of the detection.
        progress: called with the fraction done and a text.

    Raises:
        EffscopeError: the network has fewer classes than the data, or no image can be read.
    """
    dataset = data.dataset if isinstance(data, Bank) else data
    if network.nc < len(dataset.classes):
        raise EffscopeError(
            f"the network has {counted(network.nc, 'class', 'classes')}, '{dataset.source}' has {len(dataset.classes)}"
            ": evaluate on data with the classes it was trained on"
        )
    broken: dict[int, Broken] = {}
    if isinstance(data, Bank):
        if data.imgsz != config.imgsz:
            raise ValueError(f"the bank has images of {data.imgsz} px, the evaluation needs {config.imgsz} px")
        inputs = bank_inputs(data, max(network.spec.info["strides"]), CONVENTIONS[config.convention].margin)
        found = dict(detect_inputs(network, _with_progress(inputs, len(dataset.samples), progress), config))
    else:
        found = dict(detect(network, _readable_images(dataset, broken, progress), config))
    if not found:
        raise none_readable(dataset, broken)
    kept = without(dataset, broken)
    scored = score(kept.samples, [found[n] for n in range(len(found))], kept.classes)
    return replace(scored, dataset=kept)


def _readable_images(
    dataset: DataSet, broken: dict[int, Broken], progress: Progress | None
) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the readable images; writes position -> what is wrong with the others into `broken`."""
    for position, sample in enumerate(_with_progress(dataset.samples, len(dataset.samples), progress)):
        try:
            pixels = read_image(sample)
        except EffscopeError as error:
            broken[position] = Broken.by(error)
            continue
        yield pixels


def _with_progress(items: Iterable[T], total: int, progress: Progress | None) -> Iterator[T]:
    """Yield the items and report each one to the progress."""
    for position, item in enumerate(items):
        if progress:
            progress(position / total, f"evaluating {position}/{total}")
        yield item


def score(samples: Sequence[Sample], detections: Sequence[Detections], classes: Sequence[str]) -> Evaluation:
    """Score detections against the ground truth.

    Args:
        samples: the ground truth; areas are of the original image.
        detections: one entry per sample, in the same order.
        classes: names, position = label.
    """
    n_boxes = sum(len(sample.truth.wanted) for sample in samples)
    stats, precision = _coco(samples, detections, len(classes))
    of_class = dict(zip(classes, precision, strict=True))
    per_class = {name: ap for name, values in of_class.items() if (ap := _mean_known(values)) is not None}
    ap, ap50, ap75, small, medium, large = stats
    return Evaluation(
        ap or 0.0, ap50 or 0.0, ap75 or 0.0, small, medium, large,
        per_class, len(samples), n_boxes, tuple(detections),
        precision50={name: of_class[name][0] for name in per_class},
    )  # fmt: skip


def _coco(
    samples: Sequence[Sample], detections: Sequence[Detections], n_classes: int
) -> tuple[list[float | None], NDArray[np.float64]]:
    """COCO's first six statistics, None without boxes to score; and precision (classes, 10 IoUs, 101 recalls), -1
    without boxes of the class."""
    from faster_coco_eval import COCO, COCOeval_faster  # noqa: PLC0415  (slow import)

    truth = _truth_table(samples, n_classes)
    if not truth["annotations"]:
        return [None] * len(_STATS), np.full((n_classes, 10, 101), -1.0)
    rows = _result_rows(samples, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        run = COCOeval_faster(coco, coco.loadRes(rows if len(rows) else []), iouType="bbox", print_function=_silent)
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class): all areas, most detections
    return [_mean_known(np.array([value])) for value in run.stats[: len(_STATS)]], np.moveaxis(precision, 2, 0)


def _silent(*_: object) -> None:
    """Drop the output of the scorer."""


def _mean_known(values: NDArray[np.float64]) -> float | None:
    """Mean without the values -1, which mean that there is nothing to score; None if no other value is left."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _truth_table(samples: Sequence[Sample], n_classes: int) -> dict[str, Any]:
    """The ground truth as a COCO dict; category ids are labels plus one."""
    ids = image_ids(samples)
    images = [{"id": n, "width": s.size[0], "height": s.size[1]} for n, s in zip(ids, samples, strict=True)]
    annotations: list[dict[str, Any]] = []
    for n, truth in zip(ids, (sample.truth for sample in samples), strict=True):
        columns = (truth.boxes, truth.labels, truth.areas, truth.ignored)
        for (x0, y0, x1, y1), label, area, ignored in zip(*(column.tolist() for column in columns), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n,
                    "category_id": label + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": area,
                    "iscrowd": int(ignored),
                }
            )
    categories = [{"id": k + 1, "name": str(k)} for k in range(n_classes)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _result_rows(samples: Sequence[Sample], detections: Sequence[Detections]) -> NDArray[np.float64]:
    """(N, 7): image id, x, y, width, height, score, category id."""
    parts = []
    for n, found in zip(image_ids(samples), detections, strict=True):
        low, side = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
        ids = np.full((len(found.scores), 1), n)
        parts.append(np.hstack((ids, low, side, found.scores[:, None], found.labels[:, None] + 1)))
    return np.vstack(parts).astype(np.float64) if parts else np.zeros((0, 7))
