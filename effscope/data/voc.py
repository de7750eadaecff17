"""The Pascal VOC format: one XML per image, boxes in px, splits by ImageSets, by folder, or random 80/20.

Format source: the VOC2012 development kit. Coordinates are used as written, without the kit's offset of one.
Difficult objects are ignored as in the kit; a detection is in one by the share of its own area, as in COCO's crowds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np

from effscope.data.pictures import files_under, image_suffixes, images_under, spellings
from effscope.data.record import (
    SPLIT_NAMES,
    Fault,
    Ledger,
    Listing,
    Record,
    choose_split,
    rows_to_arrays,
)
from effscope.data.voc_xml import NO_ANNOTATION, Annotation, read_annotation
from effscope.errors import EffscopeError

ANNOTATION_FOLDERS = ("Annotations", "annotations", "annotations_voc")
IMAGE_FOLDERS = ("JPEGImages", "images")
SETS_FOLDER = Path("ImageSets", "Main")
CLASSES_FILE = "classes.txt"
VAL_FRACTION = 0.2

T = TypeVar("T")


@dataclass(frozen=True)
class VocFolder:
    """Files of a VOC folder, each under every key that finds it (see `_index`).

    Attributes:
        root: the folder.
        images: key -> path.
        annotations: key -> content of the XML file, or what is wrong with it.
    """

    root: Path
    images: Mapping[str, Path]
    annotations: Mapping[str, Annotation | str]


def is_voc(data: str) -> bool:
    """Whether `data` is a folder with XML files in it, or below its folder of annotations, images or a split."""
    path = Path(data)
    if not path.is_dir():
        return False
    usual = [path / name for name in (*ANNOTATION_FOLDERS, *IMAGE_FOLDERS, *SPLIT_NAMES)]
    below = [folder for folder in usual if folder.is_dir()] + [path] * (path.name in ANNOTATION_FOLDERS)
    return any(map(_is_xml, path.iterdir())) or any(next(_annotations(folder), None) for folder in below)


def has_voc(data: str) -> bool:
    """Whether `data` is a folder with XML files anywhere below it."""
    path = Path(data)
    return path.is_dir() and next(_annotations(_annotation_folder(path)), None) is not None


def list_voc(data: str, split: str, seed: int, ledger: Ledger) -> Listing:
    """The records of one split of a VOC folder. Reads all XML files first, because the classes are only in them.

    Classes are the lines of `classes.txt` if the folder has one, else the sorted names of all splits.

    Args:
        data: the folder, or its annotation folder.
        split: "train", "val", ...
        seed: seed of the random 80/20 split, if there are no ImageSets and no split folders.
        ledger: collects faults: broken files and rows, unknown names, images without annotations.

    Raises:
        EffscopeError: the split does not exist.
    """
    path = Path(data)
    root = path.parent if path.name in ANNOTATION_FOLDERS else path
    folder = _annotation_folder(path)
    files = {_key(file, folder): file for file in sorted(_annotations(folder))}
    images = _images(root, ledger)
    splits = (
        _image_sets(root, _index(images) | _index(files))
        or _split_folders(images)
        or _split_folders(files)
        or _drawn(files, images, seed)
    )
    chosen = choose_split(split, splits, data, ledger)
    annotations = {key: read_annotation(file) for key, file in files.items()}
    classes = _classes(root, annotations.values())
    indexed = VocFolder(root, _index(images), _index(annotations))
    return Listing(classes, _once(splits[chosen], ledger), partial(_records, indexed, classes, ledger))


def _annotation_folder(path: Path) -> Path:
    """Folder of the XML files: one of a usual name, else the image folder, else the whole folder."""
    usual = next((path / name for name in ANNOTATION_FOLDERS if (path / name).is_dir()), None)
    if usual is not None:
        return usual
    images = _image_folder(path)
    return images if next(_annotations(images), None) else path


def _annotations(folder: Path) -> Iterator[Path]:
    return filter(_is_xml, files_under(folder))


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _image_folder(root: Path) -> Path:
    return next((root / name for name in IMAGE_FOLDERS if (root / name).is_dir()), root)


def _key(path: Path, folder: Path) -> str:
    """Relative path without suffix: "000012", or "train/000012"."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _lookup_keys(key: str) -> list[str]:
    """Keys to find a file, best first. A name in the folder of one split never finds a file of another split."""
    head, name = key.partition("/")[0], key.rpartition("/")[2]
    keys = [key, f"{head}/{name}"]
    return keys if head in SPLIT_NAMES else [*keys, name]


def _aliases(key: str) -> set[str]:
    """Keys that find a file: its own, its bare name, and its name in the folder of its split, or of any split."""
    head, name = key.partition("/")[0], key.rpartition("/")[2]
    splits = [head] if head in SPLIT_NAMES else SPLIT_NAMES
    return {key, name, *(f"{split}/{name}" for split in splits)}


def _index(table: Mapping[str, T]) -> dict[str, T]:
    """The table under every key that finds one of its files, without ambiguous keys."""
    claims = Counter(alias for key in table for alias in _aliases(key))
    spread = {alias: value for key, value in table.items() for alias in _aliases(key) if claims[alias] == 1}
    return spread | dict(table)


def _find(index: Mapping[str, T], key: str) -> T | None:
    return next((index[alias] for alias in _lookup_keys(key) if alias in index), None)


def _images(root: Path, ledger: Ledger) -> dict[str, Path]:
    folder = _image_folder(root)
    return {_key(path, folder): path for path in images_under(folder, ledger)}


def _image_sets(root: Path, known: Mapping[str, Path]) -> dict[str, list[str]]:
    """Split -> keys, from ImageSets/Main; `known` are the keys that find a file."""
    files = {name: root / SETS_FOLDER / f"{name}.txt" for name in SPLIT_NAMES}
    return {
        name: [_listed(line, known) for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        for name, file in files.items()
        if file.is_file()
    }


def _listed(line: str, known: Mapping[str, Path]) -> str:
    """The key of a line: all of it, or without a second column, each with or without the suffix of a file."""
    first, whole = line.split(maxsplit=1)[0], line.strip()
    names = [name for part in (whole, whole.rsplit(maxsplit=1)[0], first) for name in spellings(part)]
    keys = [key for name in names for key in (name, _without_suffix(name))]
    return next((key for key in keys if _find(known, key) is not None), _without_suffix(first))


def _without_suffix(name: str) -> str:
    path = PurePosixPath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in {".xml", *image_suffixes()} else name


def _once(keys: Iterable[str], ledger: Ledger) -> list[str]:
    """The keys, each once."""
    times = Counter(keys)
    for key in (key for key, n in times.items() if n > 1):
        ledger.note(Fault.LISTED_TWICE, key)
    return list(times)


def _split_folders(keys: Iterable[str]) -> dict[str, list[str]]:
    """Split -> keys, for files in folders named like splits."""
    splits: dict[str, list[str]] = {}
    for key in keys:
        head, slash, _ = key.partition("/")
        if slash and head in SPLIT_NAMES:
            splits.setdefault(head, []).append(key)
    return splits


def _drawn(files: Iterable[str], images: Mapping[str, Path], seed: int) -> dict[str, list[str]]:
    """A seeded 80/20 split over the images and the XML files without an image; each part sorted."""
    with_image = _index(images)
    without_image = [key for key in files if _find(with_image, key) is None]
    keys = np.array(sorted([*images, *without_image]))
    order = np.random.default_rng(seed).permutation(len(keys))
    n_val = max(1, round(len(keys) * VAL_FRACTION))
    return {"train": sorted(keys[order[n_val:]].tolist()), "val": sorted(keys[order[:n_val]].tolist())}


def _classes(root: Path, annotations: Iterable[Annotation | str]) -> tuple[str, ...]:
    listed = root / CLASSES_FILE
    if listed.is_file():
        lines = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines()]
        return tuple(line for line in lines if line)
    read = [annotation for annotation in annotations if isinstance(annotation, Annotation)]
    classes = tuple(sorted({one.name for annotation in read for one in annotation.objects if one.name}))
    if not classes:
        raise EffscopeError(f"{root}: its XML files have no object with a name and a box: check that they are VOC")
    return classes


def _records(folder: VocFolder, classes: tuple[str, ...], ledger: Ledger, keys: Iterable[str]) -> Iterator[Record]:
    numbers = {name: label for label, name in enumerate(classes)}
    for key in keys:
        image = _find(folder.images, key) or folder.root / key
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
        for one in annotation.objects:
            if one.name not in numbers:
                ledger.note(Fault.UNKNOWN_CLASS, f"{xml_name}: '{one.name}' {list(one.box)}")
            elif one.difficult:
                ledger.note(Fault.DIFFICULT, f"{xml_name}: '{one.name}' {list(one.box)}")
        objects = [one for one in annotation.objects if one.name in numbers]
        boxes, labels = rows_to_arrays((numbers[one.name], one.box) for one in objects)
        difficult = np.array([one.difficult for one in objects], dtype=np.bool_)
        yield Record(image, image.name, boxes, labels, declared=annotation.declared, ignored=difficult)
