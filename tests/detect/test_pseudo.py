"""A detector's own detections as labels: it agrees with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.tiny_search import tiny_place, train_tiny

from effscope.config import EvalConfig
from effscope.data.load import load_images
from effscope.detect import pseudo
from effscope.detect.bank import load_bank
from effscope.detect.evaluate import evaluate
from effscope.detect.pseudo import SURE, pseudo_labelled
from effscope.errors import EffscopeError
from effscope.models.open import open_model
from effscope.nn.fuse import deploy


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tiny_place(tmp_path_factory.mktemp("pseudo"))
    train_tiny(place)
    return place


def test_a_model_agrees_with_itself(place: Path) -> None:
    """Detections below `SURE` are no labels; above them nothing is missed, so AP is 1."""
    opened = open_model(str(place / "trained"))
    assert opened.classes is not None
    network = deploy(opened.network())
    bare = load_bank(load_images(str(place / "data" / "data.yaml"), "val", opened.classes), 64)
    bank = pseudo_labelled(bare, network, "cpu", 4)
    assert sum(map(len, bank.boxes)) > 0
    assert bank.dataset.digest != bare.dataset.digest
    for sample, boxes, labels, image in zip(bank.dataset.samples, bank.boxes, bank.labels, bank.images, strict=True):
        assert len(sample.boxes) == len(boxes) == len(labels)
        scale = np.array([image.shape[1], image.shape[0]] * 2) / np.array([*sample.size] * 2)
        assert np.allclose(boxes.numpy(), sample.boxes * scale, atol=0.01)
    found = evaluate(network, bank, EvalConfig(imgsz=64, batch=4, device="cpu", conf=SURE))
    assert found.ap > 0.98


def test_a_model_that_finds_nothing_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(str(place / "trained"))
    assert opened.classes is not None
    network = deploy(opened.network())
    bank = load_bank(load_images(str(place / "data" / "data.yaml"), "val", opened.classes), 64)
    monkeypatch.setattr(pseudo, "SURE", 0.9999)
    with pytest.raises(EffscopeError, match=r"your model finds nothing with a score of 0\.9999 in the val images"):
        pseudo_labelled(bank, network, "cpu", 4)
