"""The bank of decoded images: in memory and mapped, for training and for scoring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.small_detector import coloured_squares, small_network

from effscope.config import EvalConfig
from effscope.data.record import Fault
from effscope.data.sample import DataSet
from effscope.detect.bank import _arrays, bank_inputs, limited, limited_bank, load_bank
from effscope.detect.evaluate import evaluate
from effscope.detect.letterbox import letterbox, letterboxed
from effscope.errors import EffscopeError
from effscope.training.batches import prefetched


@pytest.fixture
def on_disk(tmp_path: Path) -> DataSet:
    """Images of several shapes in files, the third one broken."""
    made = coloured_squares(5)
    samples = []
    for k, sample in enumerate(made.samples):
        size = (96, 64) if k % 2 else (40, 80)
        file = tmp_path / f"{k}.png"
        Image.fromarray(np.asarray(sample.image)).resize(size).save(file)
        samples.append(replace(sample, image=file, size=size, boxes=sample.boxes * 0.4))
    (tmp_path / "2.png").write_bytes(b"broken")
    return replace(made, samples=tuple(samples))


def test_a_mapped_bank_equals_one_in_memory(on_disk: DataSet) -> None:
    in_memory, mapped = load_bank(on_disk, 64), load_bank(on_disk, 64, most_in_memory=100)
    assert [s.name for s in in_memory.dataset.samples] == ["train0", "train1", "train3", "train4"]
    assert in_memory.dataset.faults == mapped.dataset.faults == {Fault.UNREADABLE_IMAGE.value: 1}
    assert "2.png" in in_memory.dataset.examples[Fault.UNREADABLE_IMAGE.value][0]
    assert in_memory.dataset.digest == mapped.dataset.digest != on_disk.digest
    assert isinstance(_arrays([letterbox((40, 80), 64)], 100)[0], np.memmap)
    for a, b in zip(in_memory.images, mapped.images, strict=True):
        assert max(a.shape[:2]) == 64
        assert torch.equal(a, b)


def test_scaled_images_and_boxes_agree_with_the_letterbox(on_disk: DataSet) -> None:
    bank = load_bank(on_disk, 64)
    for sample, (fit, pixels), boxes in zip(bank.dataset.samples, bank_inputs(bank, 32), bank.boxes, strict=True):
        whole = torch.from_numpy(np.array(Image.open(str(sample.image)))).permute(2, 0, 1)
        assert fit == letterbox(sample.size, 64, 32)
        assert torch.equal(letterboxed(pixels, fit), letterboxed(whole, fit))
        placed = boxes + torch.tensor((*fit.pad, *fit.pad))
        assert torch.allclose(placed, fit.forward(torch.from_numpy(sample.boxes)))


def test_scoring_from_a_bank_equals_scoring_from_files(on_disk: DataSet) -> None:
    network, config = small_network(), EvalConfig(imgsz=64, batch=3, device="cpu", conf=1e-6)
    seen: list[float] = []
    files = evaluate(network, on_disk, config)
    bank = evaluate(network, load_bank(on_disk, 64), config, lambda fraction, _: seen.append(fraction))
    assert seen == sorted(seen) != []
    assert files.images == bank.images == 4
    for a, b in zip(files.detections, bank.detections, strict=True):
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.scores, b.scores)


def test_prefetched_batches_are_equal_and_in_order() -> None:
    assert list(prefetched(iter(range(50)))) == list(range(50))
    assert list(prefetched(iter(()))) == []
    for n in prefetched(iter(range(10**9))):  # leaving early ends the thread
        if n == 3:
            break

    def broken() -> object:
        yield 1
        raise ValueError("in the thread")

    source = prefetched(broken())  # type: ignore[arg-type]
    assert next(source) == 1
    with pytest.raises(ValueError, match="in the thread"):
        next(source)


def test_a_full_disk_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, on_disk: DataSet) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(EffscopeError, match=r"need 0\.0 GiB in .*No space left.*TMPDIR"):
        load_bank(on_disk, 64, most_in_memory=100)


def test_a_bank_of_another_size_is_refused(on_disk: DataSet) -> None:
    with pytest.raises(ValueError, match="64 px"):
        evaluate(small_network(), load_bank(on_disk, 64), EvalConfig(imgsz=96))


def test_a_limited_bank_has_the_images_of_the_limited_split(on_disk: DataSet) -> None:
    bank = load_bank(on_disk, 64)
    few, same = limited_bank(bank, 2), load_bank(limited(bank.dataset, 2), 64)
    assert [s.name for s in few.dataset.samples] == [s.name for s in same.dataset.samples] == ["train0", "train3"]
    assert all(torch.equal(a, b) for a, b in zip(few.images, same.images, strict=True))
    assert limited_bank(bank, 99) is bank
