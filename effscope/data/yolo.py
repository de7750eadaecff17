"""The YOLO format: a `data.yaml`, images, and one text file of normalised rows per image.

Format source: the data set pages of the Ultralytics documentation (detection and segmentation rows).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from effscope.data.pictures import images_under, is_image, spellings
from effscope.data.record import SPLIT_NAMES, Fault, Ledger, Listing, Record, Unit, choose_split, rows_to_arrays
from effscope.errors import EffscopeError

BOX_COLUMNS = 5  # class, centre x, centre y, width, height
MIN_POLYGON_COLUMNS = 7  # class and three points
FILE_NAMES = ("data.yaml", "data.yml")

Row = tuple[int, tuple[float, float, float, float]]


def is_yolo(data: str) -> bool:
    """Whether `data` is an existing YAML file, or a folder with a `data.yaml`."""
    path = Path(data)
    if path.is_dir():
        return any((path / name).is_file() for name in FILE_NAMES)
    return path.suffix.lower() in {".yaml", ".yml"} and path.is_file()


def list_yolo(data: str, split: str, seed: int, ledger: Ledger) -> Listing:
    """The records of one split of a `data.yaml`; a label file is read when its record is read.

    Args:
        data: the YAML file, or the folder of `data.yaml`.
        split: key of the YAML, e.g. "train".
        seed: not used: the file defines the splits.
        ledger: collects the faults of the label files.

    Raises:
        EffscopeError: the YAML is not a mapping, lacks `names` or the split, or has a path that does not exist.
    """
    path = Path(data)
    if path.is_dir():
        path = next(path / name for name in FILE_NAMES if (path / name).is_file())
    mapping = _read_mapping(path, ledger)
    classes = _class_names(mapping, path, ledger)
    available = [name for name in SPLIT_NAMES if mapping.get(name)]
    chosen = choose_split(split, available, str(path), ledger)
    images = _listed_images(mapping[chosen], _root(mapping, path), path, chosen, ledger)
    has_keypoints = "kpt_shape" in mapping
    return Listing(classes, images, partial(_records, len(classes), has_keypoints, ledger))


def label_path(image: Path) -> Path:
    """Path of the label file of an image: the last folder `images` becomes `labels`, the suffix `.txt`."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _read_mapping(path: Path, ledger: Ledger) -> Mapping[str, Any]:
    try:
        text = _text(path, ledger)
        content = yaml.safe_load(text)
        names = _written_names(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise EffscopeError(f"{path} cannot be read as YAML ({reason}): correct the file") from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise EffscopeError(f"{path} is a {kind}, not a mapping: a data.yaml has the keys path, train, val, names")
    return content if names is None else content | {"names": names}


def _written_names(text: str) -> list[str] | dict[str, str] | None:
    """The class names of a YAML as they are written: YAML itself reads `no` as False and `007` as 7. None: no names."""
    document = yaml.compose(text, yaml.SafeLoader)
    pairs = document.value if isinstance(document, yaml.MappingNode) else []
    node = next((value for key, value in reversed(pairs) if key.value == "names"), None)
    if isinstance(node, yaml.SequenceNode) and all(isinstance(one, yaml.ScalarNode) for one in node.value):
        return [one.value for one in node.value]
    if isinstance(node, yaml.MappingNode) and all(isinstance(one, yaml.ScalarNode) for _, one in node.value):
        return {key.value: one.value for key, one in node.value}
    return None


def _text(path: Path, ledger: Ledger) -> str:
    """The text of a file: UTF-8, UTF-16 with a mark, or what is left of another encoding without its letters."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise EffscopeError(f"{path} has NUL characters: save it as UTF-8")
        return text
    except UnicodeDecodeError:
        ledger.note(Fault.NOT_UTF8, str(path))
        return data.decode("utf-8", errors="ignore")


def _class_names(mapping: Mapping[str, Any], path: Path, ledger: Ledger) -> tuple[str, ...]:
    names, n_classes = mapping.get("names"), mapping.get("nc")
    if names is None and isinstance(n_classes, int) and n_classes > 0:
        ledger.note(Fault.NO_NAMES, f"{path}: nc is {n_classes}")
        return tuple(f"class_{k}" for k in range(n_classes))
    if isinstance(names, dict):
        try:
            numbered = {int(key): value for key, value in names.items()}
        except (TypeError, ValueError):
            raise EffscopeError(f"{path}: the keys of 'names' must be numbers from 0 on") from None
        if sorted(numbered) != list(range(len(numbered))):
            raise EffscopeError(
                f"{path}: 'names' has the numbers {sorted(numbered)}: they must run from 0 without gaps"
            )
        names = [numbered[index] for index in range(len(numbered))]
    if not isinstance(names, list) or not names:
        raise EffscopeError(f"{path} has no 'names': add the class names, e.g. `names: [cat, dog]`")
    if n_classes is not None and n_classes != len(names):
        raise EffscopeError(f"{path}: 'nc' is {n_classes} but 'names' lists {len(names)}: correct one of them")
    classes = tuple(map(str, names))
    if ledger.counts[Fault.NOT_UTF8.value] and (not all(classes) or len(set(classes)) < len(classes)):
        raise EffscopeError(f"{path} is not UTF-8, and its class names cannot be read: save it as UTF-8")
    return classes


def _root(mapping: Mapping[str, Any], path: Path) -> Path:
    """The root folder of the splits: `path` of the YAML, relative to its folder, else to the working folder."""
    stated = Path(str(mapping.get("path") or ".")).expanduser()
    roots = [path.parent / stated, stated]
    root = next((root for root in roots if root.is_dir()), None)
    if root is None:
        raise EffscopeError(
            f"{path}: its 'path' points to {roots[0]}, which is not a folder: correct 'path' or fetch the data"
        )
    return root


def _listed_images(entry: Any, root: Path, path: Path, split: str, ledger: Ledger) -> list[Path]:
    entries = entry if isinstance(entry, list) else [entry]
    images: list[Path] = []
    for one in entries:
        found = _existing(str(one), root)
        if found is None:
            raise EffscopeError(
                f"{path}: '{split}' points to {root / str(one)}, which does not exist: correct the path"
            )
        images += images_under(found, ledger) if found.is_dir() else _images_in_list(found, root, ledger)
    times = Counter(Path(os.path.normpath(image)) for image in images)
    for image in (image for image, n in times.items() if n > 1):
        ledger.note(Fault.LISTED_TWICE, str(image))
    if not times:
        raise EffscopeError(f"{path}: '{split}' ({entry}) has no images: correct the path or add images")
    return list(times)


def _existing(entry: str, root: Path) -> Path | None:
    """The path of an entry below the root. Some exporters write `../train/images` for `train/images`."""
    written = spellings(entry)
    paths = [root / Path(name).expanduser() for name in written]
    paths += [root / name.removeprefix("../") for name in written if name.startswith("../")]
    return next((path for path in paths if path.exists()), None)


def _images_in_list(listing: Path, root: Path, ledger: Ledger) -> list[Path]:
    """Images listed in a text file, one per line, relative to the text file or else to the root; # begins a comment."""
    if is_image(listing):
        return [listing]
    try:
        text = _text(listing, ledger)
    except (OSError, UnicodeDecodeError) as error:
        raise EffscopeError(f"{listing} cannot be read as a list of images ({error}): correct the file") from None
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [_listed(line, listing.parent, root) for line in lines if line]


def _listed(line: str, beside: Path, root: Path) -> Path:
    """The image of a line: beside the list, else below the root."""
    paths = [folder / name for name in spellings(line) for folder in (beside, root)]
    return next((path for path in paths if path.exists()), paths[0])


def _records(n_classes: int, has_keypoints: bool, ledger: Ledger, images: Iterable[Path]) -> Iterator[Record]:
    for image in images:
        labels_file = label_path(image)
        try:
            text = labels_file.read_text(encoding="utf-8-sig", errors="replace")
        except FileNotFoundError:
            text = ""
            if image.exists():
                ledger.note(Fault.MISSING_LABELS, str(labels_file))
        except OSError as error:
            ledger.note(Fault.UNREADABLE_LABELS, f"{labels_file} ({error.strerror})")
            continue
        rows = _rows(text, labels_file.name, n_classes, has_keypoints, ledger)
        boxes, labels = rows_to_arrays(rows)
        yield Record(image, image.name, boxes, labels, Unit.FRACTION, repeats=False)


def _rows(text: str, name: str, n_classes: int, has_keypoints: bool, ledger: Ledger) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        shown = f"{name}:{number} '{line.strip()[:60]}'"
        row = _parse_row(words, has_keypoints)
        if row is not None and not has_keypoints and len(words) > BOX_COLUMNS:
            ledger.note(Fault.POINTS, shown)
        if row is None:
            ledger.note(Fault.UNREADABLE_ROW, shown)
        elif not 0 <= row[0] < n_classes:
            ledger.note(Fault.UNKNOWN_CLASS, shown)
        else:
            yield row


def _parse_row(words: list[str], has_keypoints: bool) -> Row | None:
    """(class, xyxy as fractions) of a box, polygon or keypoint row; None for other rows."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    if not values[0].is_integer():
        return None
    label = int(values[0])
    if len(values) == BOX_COLUMNS or (has_keypoints and len(values) > BOX_COLUMNS):
        x, y, width, height = values[1:BOX_COLUMNS]
        return label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(values) >= MIN_POLYGON_COLUMNS and len(values) % 2 == 1:
        points = np.array(values[1:]).reshape(-1, 2)
        (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return label, (x1, y1, x2, y2)
    return None
