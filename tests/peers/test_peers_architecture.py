"""Checkpoints that Ultralytics pickled, read back into layouts from their module trees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.peers_env import ask_for

from effscope.checkpoint.identify.by_tensors import identify, same_model
from effscope.checkpoint.identify.by_tree import layout_of
from effscope.checkpoint.read import read_checkpoint
from effscope.layouts.zoo.catalog import ZOO

MODELS = [
    "yolov8n", "yolov8n-p6", "yolov8n-ghost", "yolov10n", "yolov10m", "yolov3-tiny", "yolov3-spp", "yolov5n", "yolov6n",
    "yolov9t", "yolov9c", "yolov9e", "yolo11n", "yolo11m", "yolo12n", "yolo12l", "yolo26n", "rtdetr-l",
    "rtdetr-resnet50",
]  # fmt: skip
"""Together they hold every block that Ultralytics' detection layouts use."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("checkpoints")
    (made / "question.json").write_text(json.dumps([f"{name}.yaml" for name in MODELS]))
    ask_for("checkpoints", made)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_the_tree_of_a_checkpoint_is_the_model_it_was_built_from(name: str, folder: Path) -> None:
    checkpoint = read_checkpoint(folder / f"{name}.pt")
    assert same_model(layout_of(checkpoint), ZOO[name](80))
    found = identify(checkpoint).layout
    assert found is not None
    assert found.name == name
