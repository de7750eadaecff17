"""VOC files in the forms that tools write: nothing is left out without a word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effscope.data.check import fault_lines
from effscope.data.load import load
from effscope.data.record import Fault
from effscope.data.sample import DataSet
from effscope.detect.evaluate import score
from effscope.detect.predict import Detections

SIDE = (100, 80)
BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
OTHER = "<bndbox><xmin>60</xmin><ymin>10</ymin><xmax>90</xmax><ymax>30</ymax></bndbox>"
DOG = f"<object><name>dog</name>{BOX}</object>"
FIRST, SECOND = [11.0, 21.0, 50.0, 60.0], [60.0, 10.0, 90.0, 30.0]


def voc(root: Path, xml: bytes, split: str = "a\nok\n") -> DataSet:
    """Pictures a.jpg, with this XML file, and ok.jpg, with a dog."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, content in {"a": xml, "ok": f"<annotation>{DOG}</annotation>".encode()}.items():
        Image.new("RGB", SIDE).save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_bytes(content)
    (root / "ImageSets" / "Main" / "train.txt").write_text(split)
    return load(str(root), "train")


FORMS = {
    "default namespace": f'<annotation xmlns="http://example.org/voc">{DOG}</annotation>',
    "objects inside objects": f"<annotation><objects>{DOG}</objects></annotation>",
    "capitals": f"<Annotation>{DOG.replace('object', 'Object').replace('xmin', 'Xmin')}</Annotation>",
    "byte order mark": f"\ufeff<annotation>{DOG}</annotation>",
    "part before its own name": f"<annotation><object><part><name>head</name>{OTHER}</part>{DOG[8:]}</annotation>",
}
FORMS["prefix"] = re.sub(r"<(/?)", r"<\1v:", f"<annotation>{DOG}</annotation>").replace(">", ' xmlns:v="x">', 1)


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_forms_of_a_file(text: str, tmp_path: Path) -> None:
    data = voc(tmp_path, text.encode())
    assert (data.samples[0].boxes.tolist(), data.classes, data.faults) == ([FIRST], ("dog",), {})


def test_every_box_of_an_object_is_read(tmp_path: Path) -> None:
    data = voc(tmp_path, f"<annotation>{DOG.replace(BOX, BOX + OTHER)}</annotation>".encode())
    assert data.samples[0].boxes.tolist() == [FIRST, SECOND]


ENCODINGS = {
    "gbk": "狗", "gb2312": "狗", "gb18030": "狗", "big5": "狗", "shift_jis": "犬", "euc-jp": "犬", "euc-kr": "개",
    "windows-1251": "собака", "cp1252": "Spürhund", "iso-8859-1": "Spürhund", "utf-16": "狗", "utf-8": "狗",
    "KOI8-R": "пёс",
}  # fmt: skip


@pytest.mark.parametrize(("encoding", "name"), ENCODINGS.items())
def test_encodings_that_python_knows(encoding: str, name: str, tmp_path: Path) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?>\n<annotation>{DOG.replace('dog', name)}</annotation>"
    data = voc(tmp_path, text.encode(encoding))
    assert (data.samples[0].boxes.tolist(), set(data.classes), data.faults) == ([FIRST], {"dog", name}, {})


@pytest.mark.parametrize(
    "xml",
    [
        f"<?xml version='1.0' encoding='nonsense'?><annotation>{DOG}</annotation>".encode(),
        f"<?xml version='1.0' encoding='base64'?><annotation>{DOG}</annotation>".encode(),
        f"<annotation>{DOG.replace('dog', '狗')}</annotation>".encode("gbk"),
        "<?xml version='1.0' encoding='gbk'?><!DOCTYPE a [<!ENTITY d 'dog'>]><annotation>&d;</annotation>".encode(
            "gbk"
        ),
    ],
    ids=["unknown", "not of text", "not declared", "entities"],
)
def test_files_that_cannot_be_read_are_said(xml: bytes, tmp_path: Path) -> None:
    data = voc(tmp_path, xml)
    assert [sample.name for sample in data.samples] == ["ok.jpg"]
    assert data.faults == {Fault.UNREADABLE_LABELS.value: 1}


def test_difficult_objects_are_neither_trained_on_nor_true_nor_false(tmp_path: Path) -> None:
    """As in VOC's own evaluation: without the second object, whether it is detected or not."""
    hard = DOG.replace(BOX, f"<difficult>1</difficult>{OTHER}")
    data = voc(tmp_path, f"<annotation>{DOG}{hard}</annotation>".encode())
    sample = data.samples[0]
    assert sample.boxes.tolist() == [FIRST]
    assert (sample.truth.boxes.tolist(), sample.truth.ignored.tolist()) == ([FIRST, SECOND], [False, True])
    assert fault_lines(data) == [
        "difficult object: 1, not trained on, and detections in it are not scored "
        "(e.g. a.xml: 'dog' [60.0, 10.0, 90.0, 30.0])"
    ]
    ap = {}
    for name, boxes, best in (
        ("found", [SECOND, FIRST, SECOND], [0.9, 0.8, 0.7]),
        ("missed", [FIRST], [0.8]),
        ("false", [[0, 60, 9, 70], FIRST], [0.9, 0.8]),
    ):
        found = Detections(np.array(boxes, np.float32), np.array(best, np.float32), np.zeros(len(boxes), np.int64))
        ap[name] = score([sample], [found], ("dog",)).ap
    assert ap == {"found": pytest.approx(1), "missed": pytest.approx(1), "false": pytest.approx(0.5)}


@pytest.mark.parametrize("flag", ["0", "", "Unspecified", "false"])
def test_other_objects_are_not_difficult(flag: str, tmp_path: Path) -> None:
    data = voc(tmp_path, f"<annotation>{DOG.replace(BOX, f'<difficult>{flag}</difficult>{BOX}')}</annotation>".encode())
    assert not data.faults


LISTS = {
    "names": "a\nok\n",
    "images": "a.jpg\nok.jpg\n",
    "labels": "a.xml\nok.XML\n",
    "both": "JPEGImages/a.jpg Annotations/a.xml\nJPEGImages/ok.jpg Annotations/ok.xml\n",
    "backslashes": "JPEGImages\\a.jpg\nJPEGImages\\ok.jpg\n",
    "one class": "a  1\nok -1\n",
    "suffix and class": "a.jpg 1\nok.jpg 0\n",
    "blank lines": "\n a \r\n\nok",
}


@pytest.mark.parametrize("split", LISTS.values(), ids=LISTS)
def test_forms_of_a_split_list(split: str, tmp_path: Path) -> None:
    data = voc(tmp_path, f"<annotation>{DOG}</annotation>".encode(), split)
    assert [sample.name for sample in data.samples] == ["a.jpg", "ok.jpg"]
    assert not data.faults


def test_a_list_that_names_an_image_twice_or_one_that_is_not_there(tmp_path: Path) -> None:
    data = voc(tmp_path, f"<annotation>{DOG}</annotation>".encode(), "a\na\ngone.jpg 1\nok\n")
    assert len(data.samples) == 2
    assert data.faults == {Fault.LISTED_TWICE.value: 1, Fault.MISSING_IMAGE.value: 1}


def test_names_with_dots_and_spaces_are_taken_whole(tmp_path: Path) -> None:
    voc(tmp_path, f"<annotation>{DOG}</annotation>".encode())
    names = ("my cat.jpg", "b 1", "c.png.rf.7d")
    for name in names:
        Image.new("RGB", SIDE).save(tmp_path / "JPEGImages" / f"{name}.jpg")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(f"<annotation>{DOG}</annotation>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\n".join([names[0], f"{names[1]} 1", names[2]]))
    data = load(str(tmp_path), "train")
    assert [sample.name for sample in data.samples] == [f"{name}.jpg" for name in names]
    assert not data.faults
