"""Additional files of an evaluation: AP of every image, all detections, and drawn examples."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from effscope.data.read import read_image
from effscope.data.sample import DataSet, Sample
from effscope.detect.draw import draw, with_legend
from effscope.detect.error_analysis import judge
from effscope.detect.predict import Detections
from effscope.files import csv_text, write_bytes, write_text

N_DRAWN = 8

USUAL_CUT = 0.25
"""Smallest score that is drawn if no cut is known."""

LEAST_CUT = 0.05
"""Smallest score that is ever drawn: below it an untrained detector covers the image."""


def write_examples(
    folder: Path,
    dataset: DataSet,
    found: Sequence[Detections],
    per_image: Sequence[float | None],
    classes: Sequence[str],
    cut: float | None = None,
) -> dict[str, str]:
    """Write images.csv (AP of every image), detections.json, and the first images with boxes drawn.

    Args:
        folder: created if it does not exist.
        dataset: the images.
        found: the detections, one entry per image.
        per_image: AP of each image, a fraction; None without a ground-truth box.
        classes: names, position = label.
        cut: smallest score of a drawn detection, 0-1, but not below `LEAST_CUT`; None: `USUAL_CUT`.

    Returns:
        Content of each file -> its path. detections.json is in COCO's results form, with the ids of the data's
        label file; without such ids, `image_id` is the image's name and `category_id` the position of the class.
        Detections of classes that the file does not have are left out.
    """
    images = [
        {"image": sample.name, "boxes": len(sample.truth.wanted), "detections": len(d.scores), "ap": ap}
        for sample, d, ap in zip(dataset.samples, found, per_image, strict=True)
    ]
    known = dataset.category_ids
    ids = [known.get(name) if known else label for label, name in enumerate(classes)]
    detections = [
        {
            "image_id": sample.name if sample.key is None else sample.key,
            "category_id": ids[label],
            "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
            "score": score,
            "image": sample.name,
            "class": classes[label],
        }
        for sample, d in zip(dataset.samples, found, strict=True)
        for (x0, y0, x1, y1), score, label in zip(
            d.boxes.astype(np.float64).round(3).tolist(), d.scores.tolist(), d.labels, strict=True
        )
        if ids[label] is not None
    ]
    files = {"images": folder / "images.csv", "detections": folder / "detections.json"}
    write_text(files["images"], csv_text(images))
    write_text(files["detections"], json.dumps(detections) + "\n")
    shown = USUAL_CUT if cut is None else max(cut, LEAST_CUT)
    for n, (sample, d) in enumerate(zip(dataset.samples[:N_DRAWN], found, strict=False)):
        files[f"picture_{n:02d}"] = folder / f"picture_{n:02d}.png"
        write_bytes(files[f"picture_{n:02d}"], _drawn(sample, d, classes, shown))
    return {what: str(path) for what, path in files.items()}


def _drawn(sample: Sample, found: Detections, classes: Sequence[str], cut: float) -> bytes:
    """A PNG of the image with its boxes and a legend."""
    kept = found.scores.astype(np.float64) >= cut
    shown = Detections(found.boxes[kept], found.scores[kept], found.labels[kept])
    missed = ~judge(replace(sample, written=None), shown).hit
    drawing = draw(read_image(sample), shown, classes, truth=sample, least_score=0.0, missed=missed)
    data = io.BytesIO()
    with_legend(drawing, cut).save(data, "PNG")
    return data.getvalue()
