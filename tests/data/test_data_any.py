"""Every box of a data set comes back, whatever legal oddities its files have: any set in each layout."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from effscope.data.check import fault_lines
from effscope.data.load import load
from effscope.data.record import Fault

FAST, SLOW = 20, 170
"""Sets of each layout."""

KINDS = {
    ".png": "PNG", ".PNG": "PNG", ".jpg": "JPEG", ".JPG": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".bmp": "BMP",
    ".tif": "TIFF", ".webp": "WEBP", ".ppm": "PPM",
}  # fmt: skip
MODES = {"PNG": ("RGB", "L", "P", "RGBA", "1", "LA"), "JPEG": ("RGB", "L", "CMYK"), "TIFF": ("RGB", "L")}
SIDEWAYS = {5, 6, 7, 8}
NAMES = ("cat", "dog with spaces", "Zähler", "细胞", "no", "yes", "007", "null", "1e3", "a: b", "x#y", "d & g <h>")
FOLDERS = ("", "night", "a b", "deep/er", "day.1", "图")
NAME = st.text("abAB é图-_.,()'%", max_size=6)
Box = tuple[float, float, float, float]
Found = Counter[tuple[str, str, Box]]


@dataclass(frozen=True)
class Row:
    """A labelled object: xyxy in px of the upright picture."""

    label: int
    box: Box
    ignored: bool = False


@dataclass
class Made:
    """A set while it is written.

    Attributes:
        draw: draws a value of a strategy; the first values are the plain ones.
        root: the folder of the set.
        store: a folder outside; linked folders and files lead into it.
        classes: names, position = label.
        trained: (image, class, box) of every box to train on.
        scored: the same of every object to find.
        ignored: number of objects that are not to be found.
        faults: what must be said.
    """

    draw: Any
    root: Path
    store: Path
    classes: tuple[str, ...] = ()
    trained: Found = field(default_factory=Counter)
    scored: Found = field(default_factory=Counter)
    ignored: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def pick(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def chance(self) -> bool:
        return bool(self.pick(False, False, True))

    def folder(self, path: Path) -> Path:
        """A folder, or a link with its name to a folder elsewhere."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.chance():
            real = self.store / path.name
            real.mkdir(parents=True)
            path.symlink_to(real)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def picture(self, folder: Path, number: int) -> tuple[Path, tuple[int, int]]:
        """A picture, or a link to one, and its upright size."""
        suffix, sides = self.pick(*KINDS), st.integers(16, 64)
        path = folder / self.pick(*FOLDERS) / f"i{self.draw(NAME)}{number}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        real = path
        if self.chance():
            real = self.store / f"real{number}{suffix}"
            path.symlink_to(real)
        stored, turn, exif = (self.draw(sides), self.draw(sides)), 1, Image.Exif()
        if KINDS[suffix] == "JPEG" and self.chance():
            turn = exif[0x0112] = self.draw(st.integers(1, 8))
        mode = self.pick(*MODES.get(KINDS[suffix], ("RGB",)))
        Image.new(mode, stored).save(real, KINDS[suffix], exif=exif)
        if turn != 1:
            self.faults[Fault.EXIF_TURNED.value] += 1
        return path, stored[::-1] if turn in SIDEWAYS else stored

    def rows(self, name: str, size: tuple[int, int], flags: bool) -> list[Row]:
        """The objects of a picture, in whole px; some cannot be trained on, the first can. Notes what comes back."""
        width, height = size
        found: dict[Box, Row] = {}
        for _ in range(self.draw(st.integers(0 if self.trained else 1, 4))):
            x, y = self.draw(st.integers(0, width - 4)), self.draw(st.integers(0, height - 4))
            w, h = self.draw(st.integers(2, width - x)), self.draw(st.integers(2, height - y))
            kind = self.pick(None, None, None, Fault.CLIPPED, Fault.ZERO_AREA, Fault.OUTSIDE) if self.trained else None
            x, w = {Fault.CLIPPED: (x, width - x + w), Fault.ZERO_AREA: (x, 0), Fault.OUTSIDE: (width + x, w)}.get(
                kind, (x, w)
            )
            box = (float(x), float(y), float(x + w), float(y + h))
            row = Row(
                self.draw(st.integers(0, len(self.classes) - 1)), box, bool(flags and self.trained and self.chance())
            )
            if any(other[:1] == box[:1] for other in found):
                continue  # a near duplicate
            found[box] = row
            self.faults[kind.value if kind else ""] += 1
            key = (name, self.classes[row.label], box)
            self.scored[key] += not row.ignored
            self.ignored += row.ignored
            if kind in (None, Fault.CLIPPED) and not row.ignored:
                self.trained[name, self.classes[row.label], (box[0], box[1], min(box[2], width), box[3])] += 1
        return list(found.values())

    def hidden(self, folder: Path) -> None:
        """A picture in a hidden folder."""
        if self.chance():
            (folder / ".cache").mkdir()
            Image.new("RGB", (8, 8)).save(folder / ".cache" / "a.png")
            self.faults[Fault.HIDDEN.value] += 1


def yolo(made: Made) -> str:
    """Segments, keypoints, lists of images, encodings of the YAML, classes without names, paths of three kinds."""
    images = made.folder(made.root / "images" / "train")
    numbered, keypoints = made.chance(), made.chance()
    if numbered:
        made.classes = tuple(f"class_{k}" for k in range(len(made.classes)))
        made.faults[Fault.NO_NAMES.value] += 1
    listed = []
    for n in range(made.draw(st.integers(1, 4))):
        image, size = made.picture(images, n)
        listed.append(image)
        gap, end = made.pick(" ", "\t", "  "), made.pick("\n", "\r\n", "\n\n", " \n")
        lines = [
            gap.join([made.pick(str(row.label), f"{row.label}.0"), *_numbers(made, row.box, size, keypoints)])
            for row in made.rows(image.name, size, flags=False)
        ]
        text = Path(*["labels" if part == "images" else part for part in image.parts]).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_bytes((end.join(lines) + made.pick("", end)).encode(made.pick("utf-8", "utf-8-sig")))
    entry: Any = "images/train"
    if made.chance():
        entry = _list(made, listed)
    else:
        made.hidden(images)
    content = {"train": made.pick(entry, [entry]), "nc": len(made.classes)} | (
        {"kpt_shape": [2, 3]} if keypoints else {}
    )
    file = made.root / "data.yaml"
    if made.chance():
        file = made.root / "configs" / "mine.yaml"
        file.parent.mkdir()
        content |= {"path": made.pick("..", made.root.name, str(made.root))}  # of the YAML, of the working folder
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=made.chance())
    if not numbered:
        text += _names(made)
    encoding = made.pick("utf-8", "utf-8-sig", "utf-16")
    file.write_bytes(made.pick(text, text.replace("\n", "\r\n")).encode(encoding))
    return str(made.pick(file, file.parent if file.name == "data.yaml" else file))


def _numbers(made: Made, box: Box, size: tuple[int, int], keypoints: bool) -> list[str]:
    """The numbers of a label row: a box, a box with keypoints, or a segment."""
    (x1, y1, x2, y2), (width, height) = box, size
    numbers = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    if keypoints:
        numbers += [0.5, 0.5, 2, 0.25, 0.5, 1]
    elif made.chance():
        numbers = (np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) / size).ravel().tolist()
        made.faults[Fault.POINTS.value] += 1
    return [made.pick(f"{number:.8f}", f"{number:.9e}") for number in numbers]


def _list(made: Made, images: list[Path]) -> str:
    """A list of images with comments, beside or below the root."""
    name = made.pick("list.txt", "li sts/my list.txt")
    file = made.root / name
    file.parent.mkdir(exist_ok=True)
    lines = ["# a comment", ""]
    for path in images:
        relative = path.relative_to(made.root).as_posix()
        written = made.pick(relative, f"./{relative}", str(path), relative.replace("/", "\\"))
        lines.append(written + made.pick("", "  "))
    file.write_bytes(made.pick("\n", "\r\n").join(lines).encode(made.pick("utf-8", "utf-8-sig")))
    return str(name)


def _names(made: Made) -> str:
    """The class names, plain where YAML allows it: `no` is a name as well."""
    quoted = [json.dumps(name, ensure_ascii=False) if set(name) & set(":#&<") else name for name in made.classes]
    return str(
        made.pick(
            f"names: [{', '.join(quoted)}]\n",
            "names:\n" + "".join(f"- {name}\n" for name in quoted),
            "names:\n" + "".join(f"  {k}: {name}  # class\n" for k, name in enumerate(quoted)),
        )
    )


def coco(made: Made) -> str:
    """Ids of any type, images listed twice, crowds, numbers as text, file names of any spelling, other JSON names."""
    images = made.folder(made.root / "images" / "train")
    key = made.pick(lambda n: 1000 - 3 * n, lambda n: f"image {n}", lambda n: n + 0.5, str, lambda n: n)
    category = made.pick(lambda n: n, lambda n: 7 * n + 2, lambda n: f"k{n:02}", float)
    other = made.pick(lambda key: key, lambda key: key, str)  # annotations may have their ids as text
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for n in range(made.draw(st.integers(1, 4))):
        image, (width, height) = made.picture(images, n)
        name = image.relative_to(images).as_posix()
        entry = {"id": key(n), "file_name": made.pick(name, f"./{name}", name.replace("/", "\\"), str(image))}
        entry |= made.pick({"width": width, "height": height}, {}, {"width": str(width), "height": float(height)})
        twice = made.chance()
        entries += [entry] * (1 + twice)
        made.faults[Fault.LISTED_TWICE.value] += twice
        for row in made.rows(image.name, (width, height), flags=True):
            x1, y1, x2, y2 = row.box
            crowd = made.pick(1, True, "1") if row.ignored else made.pick(0, False, "0", None)
            made.faults[Fault.CROWD.value] += row.ignored
            annotation = {"id": len(annotations), "image_id": other(key(n)), "category_id": other(category(row.label))}
            annotation |= {
                "iscrowd": crowd,
                "bbox": [made.pick(float, str, int)(v) for v in (x1, y1, x2 - x1, y2 - y1)],
            }
            annotations.append(annotation | made.pick({}, {"area": 7.5}, {"segmentation": [[1, 2, 3, 4, 5, 6]]}))
    made.hidden(images)
    made.faults[Fault.HIDDEN.value] = 0  # the JSON says which images there are
    categories = [{"id": category(n), "name": name} for n, name in enumerate(made.classes)]
    file = made.root / made.pick(
        "train.json", "annotations/instances_train.json", "annotations/instances_train2017.json"
    )
    file.parent.mkdir(exist_ok=True)
    content = {"images": entries, "annotations": annotations, "categories": made.pick(categories, categories[::-1])}
    file.write_bytes(json.dumps(content, ensure_ascii=made.chance()).encode(made.pick("utf-8", "utf-8-sig", "utf-16")))
    return str(made.root)


def voc(made: Made) -> str:
    """Namespaces, encodings, difficult objects, wrapped objects, several boxes in one object, odd split lists."""
    images, annotations = made.folder(made.root / "JPEGImages"), made.folder(made.root / "Annotations")
    lines = []
    for n in range(made.draw(st.integers(1, 4))):
        image, size = made.picture(images, n)
        rows = made.rows(image.name, size, flags=True)
        made.faults[Fault.DIFFICULT.value] += sum(row.ignored for row in rows)
        file = (annotations / image.relative_to(images)).with_suffix(made.pick(".xml", ".XML"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_xml(made, rows, size))
        key = image.stem
        lines.append(made.pick(key, image.name, f"{key}.xml", f"{key}  1", f"{key} -1"))
    if made.chance():
        (made.root / "classes.txt").write_text("\n".join(made.classes), encoding="utf-8")
    sets = made.root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    end = made.pick("\n", "\r\n", "\n\n")
    (sets / "train.txt").write_bytes(end.join(lines).encode(made.pick("utf-8", "utf-8-sig")))
    made.hidden(images)
    return str(made.root)


def _xml(made: Made, rows: list[Row], size: tuple[int, int]) -> bytes:
    """An XML file. Two objects of one class may be one object with two boxes."""
    objects = []
    for row in rows:
        name = f"<name>{made.pick('', ' ')}{escape(made.classes[row.label])}</name>"
        corners = [
            f"<{k}>{made.pick(int(v), v)}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), row.box, strict=True)
        ]
        box = f"<bndbox>{''.join(made.pick(corners, corners[::-1]))}</bndbox>"
        difficult = f"<difficult>{made.pick(1, 'true') if row.ignored else 0}</difficult>"
        part = made.pick("", "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>")
        objects.append([name, made.pick(difficult, difficult if row.ignored else ""), part, box])
    merged = len(rows) > 1 and rows[0].label == rows[1].label and rows[0].ignored == rows[1].ignored
    if merged:
        objects[:2] = [[*objects[0], objects[1][-1]]]
    body = "".join(f"<object>{''.join(parts)}</object>" for parts in objects)
    head = made.pick("", f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    space = made.pick("", ' xmlns="http://example.org/voc"')
    text = f"<annotation{space}>{head}{made.pick(body, f'<objects>{body}</objects>')}</annotation>"
    encoding = made.pick(None, "utf-8", "gbk", "gb18030", "utf-16")
    if encoding == "gbk" and not _fits(text, "gbk"):
        encoding = "gb18030"
    return (
        text.encode() if encoding is None else f'<?xml version="1.0" encoding="{encoding}"?>\n{text}'.encode(encoding)
    )


def _fits(text: str, encoding: str) -> bool:
    with contextlib.suppress(UnicodeEncodeError):
        return bool(text.encode(encoding))
    return False


def check(layout: Callable[[Made], str], data: st.DataObject) -> None:
    """Write a set, read it, and compare: what to train on, what to find, and what was said."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        made = Made(data.draw, Path(folder) / "my set", Path(folder) / "store")
        made.root.mkdir()
        made.store.mkdir()
        made.classes = tuple(data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)))
        source = layout(made)
        found = load(source, "train")
        trained, scored = Counter(), Counter()
        for sample in found.samples:
            wanted = sample.truth.wanted
            for counter, boxes, labels in (
                (trained, sample.boxes, sample.labels),
                (scored, wanted.boxes, wanted.labels),
            ):
                rows = np.round(boxes.astype(float), 2).tolist()
                counter.update((sample.name, found.classes[k], tuple(row)) for k, row in zip(labels, rows, strict=True))
        lines = fault_lines(found)
        assert trained == +made.trained, lines
        assert scored == +made.scored, lines
        assert sum(int(sample.truth.ignored.sum()) for sample in found.samples) == made.ignored, lines
        del made.faults[""]
        assert found.faults == +made.faults, lines


LAYOUTS = {"yolo": yolo, "coco": coco, "voc": voc}
ANY = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@settings(max_examples=FAST, **ANY)
@given(st.data())
def test_every_box_comes_back(layout: Callable[[Made], str], data: st.DataObject) -> None:
    check(layout, data)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@settings(max_examples=SLOW, **ANY)
@given(st.data())
def test_every_box_of_many_sets_comes_back(layout: Callable[[Made], str], data: st.DataObject) -> None:
    check(layout, data)
