"""Write data sets in the formats that `load` reads. Image files are copied; pixels are saved as PNG."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import yaml
from PIL import Image

from effscope.data.sample import DataSet, Sample
from effscope.errors import EffscopeError


def write_yolo(sets: Sequence[DataSet], folder: Path) -> Path:
    """Write splits as YOLO: images/<split>, labels/<split>, data.yaml. Boxes have six decimals of the side.

    Args:
        sets: one per split, with equal classes.
        folder: a new or empty folder.

    Returns:
        The data.yaml, for `load`.

    Raises:
        EffscopeError: the folder is not empty, or the sets are not different splits with equal classes.
    """
    classes = _prepare(sets, folder)
    for dataset in sets:
        labels_folder = folder / "labels" / dataset.split
        labels_folder.mkdir(parents=True)
        for sample, image in _saved(dataset, folder / "images" / dataset.split):
            (labels_folder / image.name).with_suffix(".txt").write_text(_yolo_rows(sample), encoding="utf-8")
    content: dict[str, object] = {dataset.split: f"images/{dataset.split}" for dataset in sets}
    described = yaml.safe_dump(content | {"names": dict(enumerate(classes))}, sort_keys=False, allow_unicode=True)
    target = folder / "data.yaml"
    target.write_text(described, encoding="utf-8")
    return target


def write_coco(sets: Sequence[DataSet], folder: Path) -> Path:
    """Write splits as COCO: images/<split>, <split>.json with category ids from 1. Boxes are exact.

    Arguments and errors as in `write_yolo`; returns the folder, for `load`.
    """
    classes = _prepare(sets, folder)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(classes)]
    for dataset in sets:
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for sample, image in _saved(dataset, folder / "images" / dataset.split):
            width, height = sample.size
            images.append({"id": len(images), "file_name": image.name, "width": width, "height": height})
            annotations += _coco_rows(sample, image_id=len(images) - 1, first_id=len(annotations) + 1)
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{dataset.split}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_voc(sets: Sequence[DataSet], folder: Path) -> Path:
    """Write splits as Pascal VOC: JPEGImages, Annotations, ImageSets/Main, and classes.txt for the order of labels.

    Arguments and errors as in `write_yolo`; boxes are exact; returns the folder, for `load`.
    """
    classes = _prepare(sets, folder)
    annotations, lists = folder / "Annotations", folder / "ImageSets" / "Main"
    annotations.mkdir(parents=True)
    lists.mkdir(parents=True)
    taken: set[str] = set()
    for dataset in sets:
        stems = []
        for sample, image in _saved(dataset, folder / "JPEGImages", taken):
            tree = _voc_tree(sample, image.name, classes)
            ElementTree.indent(tree)
            tree.write(annotations / f"{image.stem}.xml", encoding="utf-8")
            stems.append(image.stem)
        (lists / f"{dataset.split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    return folder


def _prepare(sets: Sequence[DataSet], folder: Path) -> tuple[str, ...]:
    """Make the folder, which must be new or empty, and return the common classes of the sets."""
    splits = [dataset.split for dataset in sets]
    if not sets or len(set(splits)) != len(splits) or len({dataset.classes for dataset in sets}) != 1:
        raise EffscopeError(f"cannot write the splits {splits} together: give different splits of one data set")
    if folder.exists() and any(folder.iterdir()):
        raise EffscopeError(f"{folder} is not empty: give a new folder, existing files are never overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    return sets[0].classes


def _saved(dataset: DataSet, folder: Path, taken: set[str] | None = None) -> Iterator[tuple[Sample, Path]]:
    """Save the image of each sample in the folder; yields the sample and the file.

    A file gets a stem that is not in `taken`; each stem is added to `taken`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    used = set() if taken is None else taken
    for index, sample in enumerate(dataset.samples):
        name = Path(sample.name or f"{dataset.split}_{index:06d}")
        stem = name.stem if isinstance(sample.image, Path) else name.name
        stem = stem.replace(" ", "_")
        if stem in used:
            stem = f"{stem}_{dataset.split}_{index:06d}"
        used.add(stem)
        if isinstance(sample.image, Path):
            target = folder / f"{stem}{sample.image.suffix}"
            shutil.copyfile(sample.image, target)
        else:
            target = folder / f"{stem}.png"
            Image.fromarray(sample.image).save(target)
        yield sample, target


def _yolo_rows(sample: Sample) -> str:
    width, height = sample.size
    lines = []
    for label, (x1, y1, x2, y2) in zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True):
        row = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        lines.append(f"{label} " + " ".join(f"{value:.6f}" for value in row) + "\n")
    return "".join(lines)


def _coco_rows(sample: Sample, image_id: int, first_id: int) -> list[dict[str, object]]:
    return [
        {
            "id": first_id + index,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for index, (label, (x1, y1, x2, y2)) in enumerate(
            zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True)
        )
    ]


def _voc_tree(sample: Sample, file_name: str, classes: tuple[str, ...]) -> ElementTree.ElementTree[ElementTree.Element]:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = file_name
    size = ElementTree.SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*sample.size, 3), strict=True):
        ElementTree.SubElement(size, tag).text = str(value)
    for label, box in zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True):
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = classes[label]
        bounds = ElementTree.SubElement(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(bounds, tag).text = f"{value:.9g}"
    return ElementTree.ElementTree(root)
