"""The COCO format: one JSON per split with images, annotations (xywh px) and categories, and a folder of images.

Format source: cocodataset.org, "Data format".
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from effscope.data.pictures import spellings
from effscope.data.record import (
    SPLIT_NAMES,
    Fault,
    Ledger,
    Listing,
    Record,
    choose_split,
    is_set,
    rows_to_arrays,
)
from effscope.errors import EffscopeError

JSON_PATHS = (
    "{split}.json",
    "annotations/{split}.json",
    "annotations/instances_{split}.json",
    "annotations/instances_{split}[0-9]*.json",
    "{split}/_annotations.coco.json",
)
PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Row:
    """An annotation: label, xyxy px, area in square px (None: that of the box), whether it is around a crowd."""

    label: int
    box: tuple[float, float, float, float]
    area: float | None
    crowd: bool


def is_coco(data: str) -> bool:
    """Whether `data` is a folder that has a JSON file of a split under one of the usual names."""
    return Path(data).is_dir() and bool(_split_files(Path(data)))


def list_coco(data: str, split: str, seed: int, ledger: Ledger) -> Listing:
    """The records of one split of a COCO folder, in the order of the JSON. Labels follow the sorted category ids.

    Args:
        data: the folder.
        split: "train", "val", ...: the JSON's name.
        seed: not used: the files define the splits.
        ledger: collects faults: crowd boxes, unknown categories, broken rows.

    Raises:
        EffscopeError: the split does not exist, or its JSON is not COCO.
    """
    root = Path(data)
    files = _split_files(root)
    chosen = choose_split(split, files, data, ledger)
    content = _read_coco(files[chosen])
    first = {category["id"]: category for category in reversed(_entries(content, "categories", files[chosen]))}
    labels = {key: label for label, key in enumerate(sorted(first, key=_in_order))}
    classes = _class_names({key: str(first[key].get("name", key)) for key in labels}, ledger)
    every = _entries(content, "images", files[chosen])
    rows = _rows_by_image(content["annotations"], every, labels, ledger)
    images = _once(every, ledger)
    folders = _image_folders(root, chosen, files[chosen])
    ids = dict(zip(classes, labels, strict=True))
    return Listing(classes, images, partial(_records, rows, folders), ids)


def _split_files(root: Path) -> dict[str, Path]:
    """Split name -> its JSON file, for the splits that have one."""
    files: dict[str, Path] = {}
    for split in SPLIT_NAMES:
        found = (path for name in JSON_PATHS for path in sorted(root.glob(name.format(split=split))))
        if (first := next(found, None)) is not None:
            files[split] = first
    return files


def _image_folders(root: Path, split: str, json_file: Path) -> list[Path]:
    """Possible parent folders of the file names, in order of priority."""
    stem = json_file.stem.removeprefix("instances_")
    names = [f"{parent}{name}" for name in dict.fromkeys((split, stem)) for parent in ("images/", "")]
    folders = [root / name for name in (*names, "images", ".")]
    return [folder for folder in folders if folder.is_dir()]


def _read_coco(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise EffscopeError(f"{path} cannot be read as JSON ({error}): correct the file") from None
    missing = [part for part in PARTS if not isinstance(content, dict) or not isinstance(content.get(part), list)]
    if missing:
        raise EffscopeError(f"{path} is not COCO: it lacks the lists {', '.join(missing)}")
    return dict(content)


def _entries(content: Mapping[str, Any], part: str, path: Path) -> list[Mapping[str, Any]]:
    """The images or categories of a COCO file, each with an id (and the images with a file name)."""
    needed: dict[str, Any] = {"id": int | float | str} | ({"file_name": str} if part == "images" else {})
    for index, entry in enumerate(content[part]):
        lacking = [
            key for key, kind in needed.items() if not isinstance(entry, dict) or not isinstance(entry.get(key), kind)
        ]
        if lacking:
            raise EffscopeError(f"{path} is not COCO: {part}[{index}] has no valid {' and '.join(lacking)}")
    return list(content[part])


def _in_order(key: Any) -> tuple[bool, Any]:
    """Numbers in ascending order, then texts."""
    return isinstance(key, str), key


def _class_names(names: Mapping[Any, str], ledger: Ledger) -> tuple[str, ...]:
    """The names of the categories, id -> name, with the id where several have one name."""
    shared = Counter(names.values())
    for name in (name for name, n in shared.items() if n > 1):
        ids = ", ".join(str(key) for key, other in names.items() if other == name)
        ledger.note(Fault.SHARED_NAME, f"'{name}' has the ids {ids}")
    return tuple(f"{name} ({key})" if shared[name] > 1 else name for key, name in names.items())


def _once(images: list[Mapping[str, Any]], ledger: Ledger) -> list[Mapping[str, Any]]:
    """The images, each id once: an id is a key. An id of several files is left out."""
    by_id: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for image in images:
        by_id[image["id"]].append(image)
    kept = []
    for key, entries in by_id.items():
        files = {posixpath.normpath(entry["file_name"].replace("\\", "/")): None for entry in entries}
        if len(files) > 1:
            ledger.note(Fault.SHARED_ID, f"id {key}: {', '.join(files)}")
            continue
        for entry in entries[1:]:
            ledger.note(Fault.LISTED_TWICE, f"{entry['file_name']} (id {key})")
        kept.append(entries[0])
    return kept


def _rows_by_image(
    annotations: list[Any], images: list[Mapping[str, Any]], labels: Mapping[Any, int], ledger: Ledger
) -> dict[Any, list[Row]]:
    """Image id -> its rows; annotations without a valid row, and crowds, are noted in the ledger."""
    names = {image["id"]: str(image["file_name"]) for image in images}
    image_of, category_of = _finder(names), _finder(labels)
    rows: dict[Any, list[Row]] = defaultdict(list)
    for index, annotation in enumerate(annotations):
        box = _box(annotation)
        if box is None:
            ledger.note(Fault.UNREADABLE_ROW, f"annotations[{index}]: {str(annotation)[:60]}")
            continue
        image_id, category = image_of(annotation.get("image_id")), category_of(annotation.get("category_id"))
        where = f"{names.get(image_id, f'image_id {image_id}')}: category {category} {annotation['bbox']}"
        if image_id not in names:
            ledger.note(Fault.UNLISTED_IMAGE, where)
        elif category not in labels:
            ledger.note(Fault.UNKNOWN_CLASS, where)
        else:
            crowd = is_set(annotation.get("iscrowd"))
            if crowd:
                ledger.note(Fault.CROWD, where)
            rows[image_id].append(Row(labels[category], box, _area(annotation), crowd))
    return rows


def _finder(keys: Collection[Any]) -> Callable[[Any], Any]:
    """Function from an id of an annotation to the equal one of `keys`, else the only one of the same text: 7, "7"."""
    times = Counter(map(_text, keys))
    by_text = {_text(key): key for key in keys if times[_text(key)] == 1}
    return lambda key: key if key in keys else by_text.get(_text(key), key)


def _text(key: Any) -> str:
    """An id as text, a whole number without its decimals."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(key).strip())


def _box(annotation: Any) -> tuple[float, float, float, float] | None:
    """xyxy px of an annotation's xywh; None if it does not have four numbers and plain ids."""
    try:
        x, y, width, height = map(float, annotation["bbox"])
        hash((annotation.get("image_id"), annotation.get("category_id")))
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
    return x, y, x + width, y + height


def _area(annotation: Mapping[str, Any]) -> float | None:
    try:
        area = float(annotation.get("area", nan))
    except (TypeError, ValueError):
        return None
    return area if isfinite(area) and area >= 0 else None


def _records(
    rows: Mapping[Any, list[Row]], folders: list[Path], images: Iterable[Mapping[str, Any]]
) -> Iterator[Record]:
    for image in images:
        file_name = str(image["file_name"])
        candidates = [folder / name for name in spellings(file_name) for folder in folders]
        path = next((file for file in candidates if file.is_file()), candidates[0])
        own = rows.get(image["id"], ())
        boxes, labels = rows_to_arrays((row.label, row.box) for row in own)
        areas = [nan if row.area is None else row.area for row in own]
        crowd = np.array([row.crowd for row in own], dtype=np.bool_)
        yield Record(
            path, path.name, boxes, labels, declared=_declared(image), areas=np.array(areas, dtype=np.float64),
            ignored=crowd, key=image["id"],
        )  # fmt: skip


def _declared(image: Mapping[str, Any]) -> tuple[int, int] | None:
    try:
        return int(float(image["width"])), int(float(image["height"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
