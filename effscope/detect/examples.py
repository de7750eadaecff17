"""Additional files of an evaluation: AP of every image, all detections, and drawn examples."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from effscope.data.read import read_image
from effscope.data.sample import DataSet
from effscope.detect.draw import draw
from effscope.detect.predict import Detections
from effscope.files import csv_text, write_bytes, write_text

N_DRAWN = 8


def write_examples(
    folder: Path,
    dataset: DataSet,
    found: Sequence[Detections],
    per_image: Sequence[float | None],
    classes: Sequence[str],
) -> dict[str, str]:
    """Write images.csv (AP of every image), detections.json, and the first images with boxes drawn.

    Args:
        folder: created if it does not exist.
        dataset: the images.
        found: the detections, one entry per image.
        per_image: AP of each image, a fraction; None without a ground-truth box.
        classes: names, position = label.

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
    for n, (sample, d) in enumerate(zip(dataset.samples[:N_DRAWN], found, strict=False)):
        drawn = io.BytesIO()
        draw(read_image(sample), d, classes, truth=sample).save(drawn, "PNG")
        files[f"picture_{n:02d}"] = folder / f"picture_{n:02d}.png"
        write_bytes(files[f"picture_{n:02d}"], drawn.getvalue())
    return {what: str(path) for what, path in files.items()}
