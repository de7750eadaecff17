"""Every data format passes one contract; the formats agree; bad input gives one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from effscope.config import BUILTIN_SHAPES
from effscope.data.check import check_listing, decodable, digest_of, fault_lines
from effscope.data.load import FORMATS, load
from effscope.data.read import read_image
from effscope.data.record import Ledger
from effscope.data.sample import DataSet
from effscope.data.shape_outlines import KINDS
from effscope.data.shapes import ShapesConfig, list_shapes
from effscope.data.write import write_coco, write_voc, write_yolo
from effscope.errors import EffscopeError

WRITERS: dict[str, Callable[[list[DataSet], Path], Path]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
}
YOLO_TEXT_PX = 160 * 1.5e-6  # six decimals of the side, on centre and half the size
N_IMAGES = 6


@pytest.fixture(scope="module")
def drawn() -> list[DataSet]:
    return [load(BUILTIN_SHAPES, split, limit=N_IMAGES) for split in ("train", "val")]


@pytest.fixture(scope="module", params=[known.name for known in FORMATS])
def data(request: pytest.FixtureRequest, drawn: list[DataSet], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set per format, as a user names it; all have the same images."""
    if request.param == "builtin":
        return BUILTIN_SHAPES
    return str(WRITERS[request.param](drawn, tmp_path_factory.mktemp(request.param) / "set"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_format_passes_the_contract(data: str, split: str) -> None:
    dataset = load(data, split, limit=N_IMAGES)
    assert (dataset.source, dataset.split, len(dataset.samples)) == (data, split, N_IMAGES)
    assert not dataset.faults
    assert fault_lines(dataset) == []
    for sample in dataset.samples:
        width, height = sample.size
        pixels = read_image(sample)
        assert pixels.shape == (height, width, 3)
        assert pixels.dtype == np.uint8
        assert sample.boxes.dtype == np.float32
        assert sample.labels.dtype == np.int64
        assert sample.boxes.shape == (len(sample.labels), 4)
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= [width, height, width, height]).all()
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert all(0 <= label < len(dataset.classes) for label in sample.labels)
        assert sample.name


def test_the_digest_depends_on_the_labels(data: str) -> None:
    first, again = load(data, "val", limit=N_IMAGES), load(data, "val", limit=N_IMAGES)
    assert first.digest == again.digest
    assert first.digest != load(data, "train", limit=N_IMAGES).digest
    sample = first.samples[0]
    relabelled = replace(sample, labels=(sample.labels + 1) % len(first.classes))
    shifted = replace(sample, boxes=sample.boxes * np.float32(0.5))
    for changed in (relabelled, shifted):
        assert digest_of(first.classes, (changed, *first.samples[1:])) != first.digest


def test_a_limit_keeps_images_of_the_whole_split(data: str) -> None:
    """One meaning of `limit` for training, scoring and ranking."""
    whole = load(data, "train")
    n = len(whole.samples)
    for limit in (1, 2, 3):
        some = load(data, "train", limit).samples
        wanted = [whole.samples[k * n // limit] for k in range(limit)]
        assert [sample.name for sample in some] == [sample.name for sample in wanted]
        for a, b in zip(some, wanted, strict=True):
            np.testing.assert_array_equal(read_image(a), read_image(b))
            np.testing.assert_array_equal(a.boxes, b.boxes)
    assert load(data, "train", n).digest == load(data, "train", n + 1).digest == whole.digest


def test_an_unusable_image_is_replaced_by_another_one(tmp_path: Path, drawn: list[DataSet]) -> None:
    data = write_yolo(drawn, tmp_path / "yolo")
    first = load(str(data), "train", 2).samples[0]
    assert isinstance(first.image, Path)
    first.image.write_bytes(b"")
    some = load(str(data), "train", 2)
    assert len(some.samples) == 2
    assert first.name not in [sample.name for sample in some.samples]


def test_an_unknown_split_lists_the_splits(data: str) -> None:
    with pytest.raises(EffscopeError, match=r"no split 'nightly': its splits are train, val") as caught:
        load(data, "nightly")
    assert "\n" not in str(caught.value)


def test_round_trip_through_every_format(data: str, drawn: list[DataSet]) -> None:
    for source in drawn:
        back = load(data, source.split, limit=N_IMAGES)
        assert back.classes == source.classes
        for a, b in zip(source.samples, back.samples, strict=True):
            np.testing.assert_array_equal(read_image(a), read_image(b))
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=YOLO_TEXT_PX)


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_writers_refuse_a_folder_with_files(writer: Callable[..., Path], drawn: list[DataSet], tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(EffscopeError, match="is not empty"):
        writer(drawn, tmp_path)
    with pytest.raises(EffscopeError, match="different splits"):
        writer([drawn[0], drawn[0]], tmp_path / "new")


# --- built-in shapes


def test_a_shape_image_depends_only_on_seed_split_and_position() -> None:
    train, other = load(BUILTIN_SHAPES, "train", limit=3), load(BUILTIN_SHAPES, "train", limit=3, seed=1)
    val = load(BUILTIN_SHAPES, "val", limit=3)
    assert len({train.digest, other.digest, val.digest}) == 3
    assert train.digest == load(BUILTIN_SHAPES, "train", limit=3, seed=0).digest


def test_every_kind_of_shape_occurs_and_boxes_are_tight() -> None:
    config = ShapesConfig(
        counts=(("train", 80),),
        kinds=tuple(KINDS),
        objects=(1, 1),
        lines=(0, 0),
        blobs=(0, 0),
        noise=(0, 0),
        blur=(0, 0),
        texture=0.0,
    )
    dataset = check_listing("s", "train", list_shapes(BUILTIN_SHAPES, "train", 0, Ledger(), config), Ledger(), None)
    assert {int(label) for sample in dataset.samples for label in sample.labels} == set(range(len(KINDS)))
    plain = list_shapes(BUILTIN_SHAPES, "train", 0, Ledger(), replace(config, objects=(0, 0)))
    for sample, empty in zip(dataset.samples, plain.records(), strict=True):
        assert not isinstance(empty.image, Path)
        changed = (np.abs(read_image(sample).astype(int) - empty.image) > 2).any(axis=2)
        rows, columns = np.nonzero(changed)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(sample.boxes[0], found, atol=1.5)


def test_an_unknown_kind_or_built_in_set_is_an_error() -> None:
    with pytest.raises(EffscopeError, match="unknown kind of shape 'moon'"):
        list_shapes(BUILTIN_SHAPES, "train", 0, Ledger(), ShapesConfig(kinds=("moon",)))
    with pytest.raises(EffscopeError, match="unknown built-in data set 'builtin:cats': choose one of builtin:shapes"):
        load("builtin:cats", "train")


# --- input that is not a data set: one line, what, where, what to do


BAD_YAMLS = {
    "- a list": "not a mapping",
    "train: images": "has no 'names'",
    "names: [a": "cannot be read as YAML",
    "{names: [a], nc: 2, train: x}": "'nc' is 2 but 'names' lists 1",
    "{names: {0: a, 2: b}, train: x}": "without gaps",
    "{names: [a], train: nowhere}": "'train' points to .*nowhere, which does not exist",
    "{names: [a], path: gone, train: x}": "'path' points to .*gone, which is not a folder",
    "{names: [a], train: empty}": "has no images",
    "{names: [a], val: empty}": "no split 'train': its splits are val",
}


@pytest.mark.parametrize(("text", "message"), BAD_YAMLS.items())
def test_bad_yaml(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(EffscopeError, match=message) as caught:
        load(str(path), "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_JSONS = {
    "[1": "cannot be read as JSON",
    "[]": "is not COCO: it lacks the lists images, annotations, categories",
    '{"images": [], "annotations": []}': "lacks the lists categories",
    '{"images": [{"id": 1}], "annotations": [], "categories": []}': r"images\[0\] has no valid file_name",
}


@pytest.mark.parametrize(("text", "message"), BAD_JSONS.items())
def test_bad_json(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(EffscopeError, match=message):
        load(str(tmp_path), "train")


def test_missing_or_unknown_data(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="does not exist"):
        load(str(tmp_path / "gone"), "train")
    with pytest.raises(EffscopeError, match="is not a data set that effscope can read"):
        load(str(tmp_path), "train")
    with pytest.raises(EffscopeError, match="at least 1"):
        load(BUILTIN_SHAPES, "train", limit=0)


def test_no_usable_box(drawn: list[DataSet], tmp_path: Path) -> None:
    source = write_yolo(drawn, tmp_path / "set")
    for labels in (tmp_path / "set/labels/val").iterdir():
        labels.unlink()
    with pytest.raises(EffscopeError, match=r"no usable box in 6 usable images \(6 x missing label file\)"):
        load(str(source), "val")


# --- BCCD: real data, three formats, known faults


BCCD_COUNTS = {"train": 205, "val": 87, "test": 72}


@pytest.mark.parametrize("split", BCCD_COUNTS)
def test_bccd_formats_agree(shared: Path, split: str) -> None:
    root = shared / "data" / "bccd"
    coco, voc, yolo = (load(name, split) for name in (str(root), f"voc:{root}", str(root / "data.yaml")))
    assert coco.classes == yolo.classes == ("WBC", "RBC", "Platelets")
    assert set(voc.classes) == set(coco.classes)
    for samples in zip(coco.samples, voc.samples, yolo.samples, strict=True):
        assert len({sample.name for sample in samples}) == 1
        found = [
            sorted((dataset.classes[label], *np.round(box, 2)) for label, box in zip(s.labels, s.boxes, strict=True))
            for dataset, s in zip((coco, voc, yolo), samples, strict=True)
        ]
        assert found[0] == found[1]
        for exact, text in zip(found[0], found[2], strict=True):
            np.testing.assert_allclose(exact[1:], text[1:], atol=0.02)


@pytest.mark.parametrize(("name", "flat"), [("coco", 2), ("voc", 2), ("yolo", 0)])
def test_bccd_counts_and_faults(shared: Path, name: str, flat: int) -> None:
    root = shared / "data" / "bccd"
    sets = {split: load(f"{name}:{root}", split) for split in BCCD_COUNTS}
    assert {split: len(dataset.samples) for split, dataset in sets.items()} == BCCD_COUNTS
    names = [dataset.classes[label] for dataset in sets.values() for s in dataset.samples for label in s.labels]
    assert {name: names.count(name) for name in set(names)} == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    stated = json.loads((root / "faults.json").read_text())
    near = [fault for fault in stated if fault["fault"].startswith("near-duplicate")]
    for split, dataset in sets.items():
        expected = [fault["file"] for fault in near if fault["split"] == split]
        assert dataset.faults["near-duplicate boxes"] == len(expected)
        shown = dataset.examples["near-duplicate boxes"]
        assert [line.partition(":")[0] for line in shown] == sorted(expected)[:3]
    assert sum(dataset.faults["zero-area box"] for dataset in sets.values()) == flat
    assert {kind for dataset in sets.values() for kind in dataset.faults if dataset.faults[kind]} <= {
        "near-duplicate boxes",
        "zero-area box",
    }


def test_bccd_images_decode(shared: Path) -> None:
    dataset = load(str(shared / "data" / "bccd"), "val", limit=5)
    assert decodable(dataset).digest == dataset.digest


def test_the_digest_changes_with_an_image_of_the_same_name_and_size(tmp_path: Path, drawn: list[DataSet]) -> None:
    data = write_yolo(drawn, tmp_path / "yolo")
    first = load(str(data), "train")
    image, other = (sample.image for sample in first.samples[:2])
    assert isinstance(image, Path)
    assert isinstance(other, Path)
    image.write_bytes(other.read_bytes())
    again = load(str(data), "train")
    assert [sample.size for sample in again.samples] == [sample.size for sample in first.samples]
    assert again.digest != first.digest
    assert digest_of(first.classes, (replace(first.samples[0], image=tmp_path / "gone.png"),))
