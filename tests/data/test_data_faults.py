"""Every kind of fault, in each format that can have it: counted, corrected, never fatal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effscope.data.check import decodable, fault_lines
from effscope.data.load import load
from effscope.data.read import SIDEWAYS, read_image
from effscope.data.record import ACTIONS, MAX_EXAMPLES, Fault
from effscope.data.sample import Sample
from effscope.errors import EffscopeError

Box = tuple[float, ...]

GOOD = (10.0, 20.0, 40.0, 60.0)  # xyxy px on an image of SIZE
SIZE = (100, 80)
BOX_FAULTS: dict[Fault, list[Box]] = {
    Fault.ZERO_AREA: [(30, 30, 30, 30), (50, 50, 40, 60)],
    Fault.OUTSIDE: [(200, 10, 250, 40), (-50, -50, -10, 40)],
    Fault.CLIPPED: [(80, 10, 130, 40)],
    Fault.NON_FINITE: [(10, 10, float("nan"), 20)],
    Fault.DUPLICATE: [GOOD, GOOD],
    Fault.NEAR_DUPLICATE: [(11, 20, 40, 60)],
}
KEPT = {Fault.CLIPPED, Fault.NEAR_DUPLICATE}


def save_image(path: Path, orientation: int = 1, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def make_yolo(root: Path, boxes: list[Box], extra: str = "") -> str:
    save_image(root / "images/train/a.jpg")
    (root / "labels/train").mkdir(parents=True)
    (root / "data.yaml").write_text("{train: images/train, names: [cat, dog]}")
    scale = np.array([*SIZE, *SIZE])
    rows = [np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]) / scale for x1, y1, x2, y2 in boxes]
    text = "".join(f"0 {' '.join(f'{value:.6f}' for value in row)}\n" for row in rows)
    (root / "labels/train/a.txt").write_text(text + extra)
    return str(root / "data.yaml")


def make_coco(root: Path, boxes: list[Box], extra: list[object] | None = None, image: str = "a.jpg") -> str:
    save_image(root / "images/train/a.jpg")
    annotations = [
        {"id": i, "image_id": 1, "category_id": 7, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for i, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 1, "file_name": image, "width": SIZE[0], "height": SIZE[1]}],
        "annotations": [*annotations, *(extra or [])],
        "categories": [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}],
    }
    (root / "train.json").write_text(json.dumps(content))
    return str(root)


def make_voc(root: Path, boxes: list[Box], extra: str = "", head: str = "") -> str:
    save_image(root / "JPEGImages/train/a.jpg")
    (root / "Annotations").mkdir()
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = [
        f"<object><name>cat</name><bndbox>{''.join(f'<{c}>{v}</{c}>' for c, v in zip(corners, box, strict=True))}"
        "</bndbox></object>"
        for box in boxes
    ]
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
    (root / "Annotations/a.xml").write_text(f"{head}<annotation>{size}{''.join(objects)}{extra}</annotation>")
    return str(root)


MAKERS: dict[str, Callable[[Path, list[Box]], str]] = {"yolo": make_yolo, "coco": make_coco, "voc": make_voc}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("fault", BOX_FAULTS, ids=lambda fault: fault.name.lower())
def test_faults_of_boxes(maker: Callable[[Path, list[Box]], str], fault: Fault, tmp_path: Path) -> None:
    bad = BOX_FAULTS[fault]
    dataset = load(maker(tmp_path, [GOOD, *bad]), "train")
    assert dataset.faults == {fault.value: len(bad)}
    assert len(dataset.examples[fault.value]) == min(len(bad), MAX_EXAMPLES)
    assert "a.jpg: cat" in dataset.examples[fault.value][0]
    assert len(dataset.samples[0].boxes) == 1 + (len(bad) if fault in KEPT else 0)
    (line,) = fault_lines(dataset)
    assert line.startswith(f"{fault.value}: {len(bad)}, {ACTIONS[fault]} (e.g. a.jpg: cat [")


def test_boxes_are_clipped_and_rounding_errors_not_counted(tmp_path: Path) -> None:
    dataset = load(make_coco(tmp_path, [(80, -5, 130, 40), (50, 50, 100.3, 80.4)]), "train")
    np.testing.assert_array_equal(dataset.samples[0].boxes, [[80, 0, 100, 40], [50, 50, 100, 80]])
    assert dataset.faults == {Fault.CLIPPED.value: 1}


def test_faults_of_yolo_rows(tmp_path: Path) -> None:
    extra = "cat 0.5 0.5 0.1 0.1\n0 0.5 0.5\n0.5 0.5 0.5 0.1 0.1\n\n5 0.5 0.5 0.1 0.1\n-1 0.5 0.5 0.1 0.1\n"
    polygon = "1 0.1 0.1 0.5 0.2 0.3 0.4\n"
    dataset = load(make_yolo(tmp_path, [GOOD], extra + polygon), "train")
    assert dataset.faults == {Fault.UNREADABLE_ROW.value: 3, Fault.UNKNOWN_CLASS.value: 2, Fault.POINTS.value: 1}
    assert dataset.samples[0].labels.tolist() == [0, 1]
    np.testing.assert_allclose(dataset.samples[0].boxes[1], [10, 8, 50, 32], rtol=1e-6)


def test_faults_of_coco_rows(tmp_path: Path) -> None:
    box = [1, 2, 30, 40]
    extra: list[object] = [
        {"image_id": 1, "category_id": 9, "bbox": box, "iscrowd": 1},
        {"image_id": 1, "category_id": 8, "bbox": box},
        {"image_id": 2, "category_id": 9, "bbox": box},
        {"image_id": 1, "category_id": 9, "bbox": [1, 2]},
        {"image_id": [1], "category_id": 9, "bbox": box},
        "junk",
        {"image_id": 1, "category_id": 9, "bbox": box},
    ]
    dataset = load(make_coco(tmp_path, [GOOD], extra), "train")
    expected = {Fault.CROWD: 1, Fault.UNKNOWN_CLASS: 1, Fault.UNLISTED_IMAGE: 1, Fault.UNREADABLE_ROW: 3}
    assert dataset.faults == {fault.value: count for fault, count in expected.items()}
    assert dataset.classes == ("cat", "dog")
    assert dataset.samples[0].labels.tolist() == [0, 1]


def test_faults_of_voc_objects(tmp_path: Path) -> None:
    extra = (
        "<object><name>cat</name></object>"
        "<object><name>dog</name><bndbox><xmin>a</xmin></bndbox></object>"
        "<object><name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    )
    source = make_voc(tmp_path, [GOOD], extra)
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    dataset = load(source, "train")
    assert dataset.faults == {Fault.UNREADABLE_ROW.value: 2, Fault.UNKNOWN_CLASS.value: 1}
    assert (dataset.classes, dataset.samples[0].labels.tolist()) == (("dog", "cat"), [1])


@pytest.mark.parametrize(
    "bad",
    [
        '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'.encode(encoding)
        for encoding in ("utf-8", "utf-16")
    ]
    + [b"<annotation><object>", b"", b"\xff\x00\x01"],
)
def test_broken_or_unsafe_xml_drops_its_image(bad: bytes, tmp_path: Path) -> None:
    source = make_voc(tmp_path, [GOOD])
    save_image(tmp_path / "JPEGImages/train/b.jpg")
    (tmp_path / "Annotations/b.xml").write_bytes(bad)
    dataset = load(source, "train")
    assert dataset.faults == {Fault.UNREADABLE_LABELS.value: 1}
    assert [sample.name for sample in dataset.samples] == ["a.jpg"]
    assert ("entities" in dataset.examples[Fault.UNREADABLE_LABELS.value][0]) == (b"E" in bad and b"N" in bad)


def test_faults_of_images(tmp_path: Path) -> None:
    source = make_yolo(tmp_path, [GOOD])
    folder = tmp_path / "images/train"
    save_image(folder / "background.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("images/train/a.jpg\n./images/train/background.png\nimages/train/gone.jpg\n")
    (tmp_path / "data.yaml").write_text("{train: [list.txt, images/train/broken.jpg], names: [cat]}")
    (tmp_path / "labels/train/broken.txt").write_text("")
    dataset = load(source, "train")
    expected = {Fault.MISSING_LABELS: 1, Fault.MISSING_IMAGE: 1, Fault.UNREADABLE_IMAGE: 1}
    assert dataset.faults == {fault.value: count for fault, count in expected.items()}
    assert [len(sample.boxes) for sample in dataset.samples] == [1, 0]


def test_missing_files_in_coco_and_voc(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="1 x missing image"):
        load(make_coco(tmp_path / "coco", [GOOD], image="b.jpg"), "train")
    source = make_voc(tmp_path / "voc", [GOOD])
    sets = tmp_path / "voc/ImageSets/Main"
    sets.mkdir(parents=True)
    (sets / "train.txt").write_text("a 1\nb -1\nc\n")
    save_image(tmp_path / "voc/JPEGImages/train/c.jpg")
    assert load(source, "train").faults == {Fault.MISSING_IMAGE.value: 1, Fault.MISSING_LABELS.value: 1}


def test_truncated_image_is_found_when_decoded(tmp_path: Path) -> None:
    source = make_yolo(tmp_path, [GOOD])
    whole = save_image(tmp_path / "images/train/b.jpg", size=(300, 300))
    whole.write_bytes(whole.read_bytes()[:5000])
    (tmp_path / "labels/train/b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    dataset = load(source, "train")
    assert (len(dataset.samples), dataset.faults) == (2, {})
    with pytest.raises(EffscopeError, match=r"b\.jpg is cut short \(.*truncated"):
        read_image(dataset.samples[1])
    left = decodable(dataset)
    assert (len(left.samples), left.faults) == (1, {Fault.UNREADABLE_IMAGE.value: 1})
    assert left.digest != dataset.digest


def test_a_missing_split_has_an_alias(tmp_path: Path) -> None:
    source = make_yolo(tmp_path, [GOOD])
    Path(source).write_text("{valid: images/train, test: images/train, names: [cat]}")
    dataset = load(source, "val")
    assert (dataset.split, dataset.faults) == ("val", {Fault.OTHER_SPLIT.value: 1})
    assert "'valid' is used" in fault_lines(dataset)[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_exif_orientation_turns_the_image(orientation: int, suffix: str, tmp_path: Path) -> None:
    source = make_yolo(tmp_path, [])
    (tmp_path / "images/train/a.jpg").unlink()
    save_image(tmp_path / f"images/train/a.{suffix}", orientation)
    (tmp_path / "labels/train/a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (sample,) = load(source, "train").samples
    assert sample.size == (SIZE if orientation not in SIDEWAYS else SIZE[::-1])
    assert read_image(sample).shape == (sample.size[1], sample.size[0], 3)


@pytest.mark.parametrize("orientation", range(5, 9))
def test_boxes_drawn_on_the_unturned_image_are_turned_with_it(orientation: int, tmp_path: Path) -> None:
    source = make_coco(tmp_path, [GOOD])
    pixels = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
    x1, y1, x2, y2 = map(int, GOOD)
    pixels[y1:y2, x1:x2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "images/train/a.jpg", exif=exif, quality=100)
    dataset = load(source, "train")
    assert dataset.faults == {Fault.EXIF_TURNED.value: 1, Fault.UNTURNED_BOXES.value: 1}
    rows, columns = np.nonzero(read_image(dataset.samples[0])[:, :, 0] > 128)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_array_equal(dataset.samples[0].boxes[0], found)


def test_a_wrong_declared_size_is_counted(tmp_path: Path) -> None:
    source = make_voc(tmp_path, [GOOD])
    save_image(tmp_path / "JPEGImages/train/a.jpg", size=(120, 90))
    dataset = load(source, "train")
    assert (dataset.samples[0].size, dataset.faults) == ((120, 90), {Fault.OTHER_SIZE.value: 1})


@dataclass(frozen=True)
class ModeCase:
    """An image in some mode, and the grey level that it shows."""

    image: Image.Image
    level: int
    suffix: str = "png"


GREY_16 = np.full((8, 10), 32896, dtype=np.uint16)
MODES = {
    "grey": ModeCase(Image.new("L", (10, 8), 128), 128),
    "bilevel": ModeCase(Image.new("1", (10, 8), 1), 255),
    "palette": ModeCase(Image.new("RGB", (10, 8), (128,) * 3).quantize(4), 128),
    "rgba": ModeCase(Image.new("RGBA", (10, 8), (128, 128, 128, 7)), 128),
    "grey-alpha": ModeCase(Image.new("LA", (10, 8), (128, 7)), 128),
    "16-bit": ModeCase(Image.fromarray(GREY_16), 128),
    "16-bit-tiff": ModeCase(Image.fromarray(GREY_16), 128, "tif"),
    "float-tiff": ModeCase(Image.fromarray(np.full((8, 10), 0.5, dtype=np.float32)), 128, "tif"),
    "cmyk": ModeCase(Image.new("CMYK", (10, 8), (0, 0, 0, 127)), 128, "jpg"),
}


@pytest.mark.parametrize("case", MODES.values(), ids=MODES)
def test_every_mode_becomes_rgb(case: ModeCase, tmp_path: Path) -> None:
    path = tmp_path / f"a.{case.suffix}"
    case.image.save(path)
    sample = Sample(path, (10, 8), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    np.testing.assert_allclose(read_image(sample), np.full((8, 10, 3), case.level), atol=2)


def test_read_image_names_the_file(tmp_path: Path) -> None:
    sample = Sample(tmp_path / "a.png", (9, 9), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    with pytest.raises(EffscopeError, match=r"a\.png is missing"):
        read_image(sample)
    MODES["grey"].image.save(tmp_path / "a.png")
    with pytest.raises(EffscopeError, match="is 10x8 px but was listed as 9x9"):
        read_image(sample)


def test_every_fault_has_an_action() -> None:
    assert set(ACTIONS) == set(Fault)
