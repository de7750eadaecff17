"""The Pascal VOC layout: one XML per picture, boxes in px, splits by ImageSets, by folder, or drawn 80/20.

Format source: the VOC2012 development kit. Coordinates are taken as they are, without the kit's offset of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from effscope.data.record import (
    SPLIT_NAMES,
    Fault,
    Ledger,
    Listing,
    Record,
    choose_split,
    images_under,
    rows_to_arrays,
)
from effscope.errors import EffscopeError

ANNOTATION_FOLDERS = ("Annotations", "annotations", "annotations_voc")
PICTURE_FOLDERS = ("JPEGImages", "images")
SETS_FOLDER = Path("ImageSets", "Main")
CLASSES_FILE = "classes.txt"
VAL_FRACTION = 0.2
CORNERS = ("xmin", "ymin", "xmax", "ymax")

T = TypeVar("T")
Row = tuple[str, tuple[float, float, float, float]]


@dataclass(frozen=True)
class Annotation:
    """One XML file: named boxes, xyxy px, the rows that are none, and the picture's (width, height) if stated."""

    rows: tuple[Row, ...]
    broken: tuple[str, ...]
    declared: tuple[int, int] | None


NO_ANNOTATION = Annotation((), (), None)


@dataclass(frozen=True)
class VocFolder:
    """What a VOC folder holds, each by every key that means it (see `_index`).

    Attributes:
        root: the folder.
        pictures: key -> path.
        annotations: key -> the XML's content, or what is wrong with it.
    """

    root: Path
    pictures: Mapping[str, Path]
    annotations: Mapping[str, Annotation | str]


def is_voc(data: str) -> bool:
    """Whether `data` is a folder of XML files, or holds one in a usual place or next to the pictures."""
    path = Path(data)
    return path.is_dir() and next(_annotation_folder(path).rglob("*.xml"), None) is not None


def list_voc(data: str, split: str, seed: int, ledger: Ledger) -> Listing:
    """The records of one split of a VOC folder. All XML files are read at once: they alone know the classes.

    Classes are the lines of `classes.txt` if the folder has one, else the names met in any split, sorted.

    Args:
        data: the folder, or its folder of annotations.
        split: "train", "val", ...
        seed: of the 80/20 draw, used only if there are neither ImageSets nor split folders.
        ledger: gets broken files and rows, unknown names, pictures without annotations.

    Raises:
        EffscopeError: the split is not there.
    """
    path = Path(data)
    root = path.parent if path.name in ANNOTATION_FOLDERS else path
    folder = _annotation_folder(path)
    files = {_key(file, folder): file for file in sorted(folder.rglob("*.xml"))}
    pictures = _pictures(root)
    splits = _image_sets(root) or _split_folders(pictures) or _split_folders(files) or _drawn(files, pictures, seed)
    chosen = choose_split(split, splits, data, ledger)
    annotations = {key: read_annotation(file) for key, file in files.items()}
    classes = _classes(root, annotations.values())
    indexed = VocFolder(root, _index(pictures), _index(annotations))
    return Listing(classes, _records(splits[chosen], indexed, classes, ledger))


def read_annotation(path: Path) -> Annotation | str:
    """The boxes of an XML file, or what is wrong with it. A file that declares entities is not expanded."""
    try:
        text = path.read_bytes()
        _refuse_entities(text)
        tree = ElementTree.fromstring(text)
    except (OSError, ValueError, LookupError, ElementTree.ParseError, expat.ExpatError) as error:
        return str(error) or type(error).__name__
    rows: list[Row] = []
    broken: list[str] = []
    for number, item in enumerate(tree.findall("object"), start=1):
        name = (item.findtext("name") or "").strip()
        texts = [item.findtext(f"bndbox/{corner}") or "" for corner in CORNERS]
        try:
            x1, y1, x2, y2 = map(float, texts)
        except ValueError:
            broken.append(f"object {number} '{name}' {texts}")
        else:
            rows.append((name, (x1, y1, x2, y2)))
    return Annotation(tuple(rows), tuple(broken), _declared(tree))


def _refuse_entities(text: bytes) -> None:
    """Raise ValueError at the first entity declaration, before anything is expanded."""

    def refuse(*_: Any) -> None:
        raise ValueError("it declares XML entities, which annotations have no use for")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.Parse(text, True)


def _declared(tree: ElementTree.Element) -> tuple[int, int] | None:
    try:
        return int(tree.findtext("size/width") or ""), int(tree.findtext("size/height") or "")
    except ValueError:
        return None


def _annotation_folder(path: Path) -> Path:
    """Where the XML files are: a folder of the usual name, else among the pictures, else anywhere below."""
    usual = next((path / name for name in ANNOTATION_FOLDERS if (path / name).is_dir()), None)
    if usual is not None:
        return usual
    pictures = _picture_folder(path)
    return pictures if next(pictures.rglob("*.xml"), None) else path


def _picture_folder(root: Path) -> Path:
    return next((root / name for name in PICTURE_FOLDERS if (root / name).is_dir()), root)


def _key(path: Path, folder: Path) -> str:
    """Relative path without suffix: "000012", or "train/000012"."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _asked(key: str) -> list[str]:
    """Keys to look a file up by, best first. A name in one split's folder never means a file in another's."""
    head, name = key.partition("/")[0], key.rpartition("/")[2]
    keys = [key, f"{head}/{name}"]
    return keys if head in SPLIT_NAMES else [*keys, name]


def _answered(key: str) -> set[str]:
    """Keys that a file answers to: its own, its bare name, and that name in its split's or, if in none, any folder."""
    head, name = key.partition("/")[0], key.rpartition("/")[2]
    splits = [head] if head in SPLIT_NAMES else SPLIT_NAMES
    return {key, name, *(f"{split}/{name}" for split in splits)}


def _index(table: Mapping[str, T]) -> dict[str, T]:
    """The table by every key that its files answer to, ambiguous ones left out."""
    claims = Counter(alias for key in table for alias in _answered(key))
    spread = {alias: value for key, value in table.items() for alias in _answered(key) if claims[alias] == 1}
    return spread | dict(table)


def _find(index: Mapping[str, T], key: str) -> T | None:
    return next((index[alias] for alias in _asked(key) if alias in index), None)


def _pictures(root: Path) -> dict[str, Path]:
    folder = _picture_folder(root)
    return {_key(path, folder): path for path in images_under(folder)}


def _image_sets(root: Path) -> dict[str, list[str]]:
    """Split -> keys, from ImageSets/Main; a line may carry a second column, which is left out."""
    files = {name: root / SETS_FOLDER / f"{name}.txt" for name in SPLIT_NAMES}
    return {
        name: [line.split()[0] for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        for name, file in files.items()
        if file.is_file()
    }


def _split_folders(keys: Iterable[str]) -> dict[str, list[str]]:
    """Split -> keys, for files in folders named like splits."""
    splits: dict[str, list[str]] = {}
    for key in keys:
        head, slash, _ = key.partition("/")
        if slash and head in SPLIT_NAMES:
            splits.setdefault(head, []).append(key)
    return splits


def _drawn(files: Iterable[str], pictures: Mapping[str, Path], seed: int) -> dict[str, list[str]]:
    """A seeded 80/20 split over the pictures and the XML files without a picture; each part sorted."""
    with_picture = _index(pictures)
    lonely = [key for key in files if _find(with_picture, key) is None]
    keys = np.array(sorted([*pictures, *lonely]))
    order = np.random.default_rng(seed).permutation(len(keys))
    n_val = max(1, round(len(keys) * VAL_FRACTION))
    return {"train": sorted(keys[order[n_val:]].tolist()), "val": sorted(keys[order[:n_val]].tolist())}


def _classes(root: Path, annotations: Iterable[Annotation | str]) -> tuple[str, ...]:
    listed = root / CLASSES_FILE
    if listed.is_file():
        lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines()]
        return tuple(line for line in lines if line)
    read = [annotation for annotation in annotations if isinstance(annotation, Annotation)]
    classes = tuple(sorted({name for annotation in read for name, _ in annotation.rows if name}))
    if not classes:
        raise EffscopeError(f"{root}: its XML files hold no object with a name and a box: check that they are VOC")
    return classes


def _records(keys: Iterable[str], folder: VocFolder, classes: tuple[str, ...], ledger: Ledger) -> Iterator[Record]:
    numbers = {name: label for label, name in enumerate(classes)}
    for key in keys:
        image = _find(folder.pictures, key) or folder.root / key
        annotation = _find(folder.annotations, key)
        xml_name = f"{Path(key).name}.xml"
        if isinstance(annotation, str):
            ledger.note(Fault.UNREADABLE_LABELS, f"{xml_name} ({annotation})")
            continue
        if annotation is None:
            annotation = NO_ANNOTATION
            if image.is_file():
                ledger.note(Fault.MISSING_LABELS, xml_name)
        for row in annotation.broken:
            ledger.note(Fault.UNREADABLE_ROW, f"{xml_name}: {row}")
        for name, box in annotation.rows:
            if name not in numbers:
                ledger.note(Fault.UNKNOWN_CLASS, f"{xml_name}: '{name}' {list(box)}")
        boxes, labels = rows_to_arrays((numbers[name], box) for name, box in annotation.rows if name in numbers)
        yield Record(image, image.name, boxes, labels, declared=annotation.declared)
