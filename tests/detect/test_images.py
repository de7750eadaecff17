"""Images of a training split as the network takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from support.small_detector import coloured_squares

from effscope.data import check
from effscope.data.write import write_yolo
from effscope.detect import images as module
from effscope.detect.bank import load_bank
from effscope.detect.images import training_images
from effscope.progress import silent, unsaid
from effscope.training.batches import plain_batch


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A data set of ten training images of 96x64 px."""
    return str(write_yolo([coloured_squares(10), coloured_squares(2, "val")], tmp_path / "data"))


def names(data: str, limit: int) -> list[str]:
    return [sample.name for sample in training_images(data, limit, 64, silent, unsaid).dataset.samples]


def test_a_limit_is_evenly_spread_over_the_split(data: str) -> None:
    assert names(data, 4) == ["train0.png", "train2.png", "train5.png", "train7.png"]
    assert names(data, 1) == ["train0.png"]
    assert len(names(data, 10)) == len(names(data, 64)) == 10


def test_images_that_are_not_shown_are_not_even_listed(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    original = check.read_header
    monkeypatch.setattr(check, "read_header", lambda path: (listed.append(path.name), original(path))[1])
    training_images(data, 2, 64, silent, unsaid)
    assert listed == ["train0.png", "train5.png"]


def test_images_equal_a_training_batch_without_augmentation(data: str) -> None:
    images = training_images(data, 3, 64, silent, unsaid)
    bank = load_bank(images.dataset, 64)
    assert len(images) == 3
    for n, image in enumerate(images):
        assert torch.equal(image, plain_batch(bank, [n]).pixels(torch.device("cpu")))
        assert image.shape == (1, 3, 64, 64)


def test_images_are_read_one_at_a_time_and_again(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = training_images(data, 3, 64, silent, unsaid)
    read: list[str] = []
    original = module.read_image
    monkeypatch.setattr(module, "read_image", lambda sample: (read.append(sample.name), original(sample))[1])
    first = iter(images)
    assert read == []
    next(first)
    assert read == ["train0.png"]
    assert len(list(first)) == 2
    assert len(list(images)) == 3
    assert read == ["train0.png", "train3.png", "train6.png"] * 2


def test_images_that_cannot_be_decoded_are_left_out_and_reported(data: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / "images" / "train" / "train5.png"
    with Image.open(file) as image:
        assert image.size == (96, 64)
    file.write_bytes(file.read_bytes()[:-3000])
    said: list[str] = []
    found = training_images(data, 4, 64, silent, said.append)
    assert [sample.name for sample in found.dataset.samples] == ["train0.png", "train2.png", "train7.png"]
    (line,) = said
    assert line.startswith("train: unreadable image: 1, dropped")
    assert "train5.png is cut short" in line


def test_progress_is_told_image_by_image(data: str) -> None:
    told: list[tuple[float, str]] = []
    list(training_images(data, 2, 64, lambda fraction, text: told.append((fraction, text)), unsaid))
    assert told == [
        (0.0, "listing images 1/2"), (0.0, "listing images 2/2"), (0.0, "image 1/2"), (0.5, "image 2/2"),
    ]  # fmt: skip
