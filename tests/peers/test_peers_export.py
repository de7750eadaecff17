"""The .pt that `effscope export` writes, in the real Ultralytics: it opens, gives our outputs, and goes on training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.golden_files import lively
from support.peers_env import ask_for
from support.small_detector import CLASSES, coloured_squares

from effscope import api
from effscope.checkpoint.write import write_safetensors
from effscope.data.write import write_yolo
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.spec.layout import Layout

N = len(CLASSES)
MADE = {
    "searched": move(move(layout("yolov8n", N), "light-head"), "cib", ["8", "18"]),
    "yolov10n": layout("yolov10n", N),
}


@pytest.mark.parametrize("name", MADE)
def test_ultralytics_opens_it_and_goes_on_training(name: str, tmp_path: Path) -> None:
    made: Layout = MADE[name]
    network = lively(made)
    write_safetensors(tmp_path / "given.safetensors", network.state_dict(), metadata(made, CLASSES, 64))
    files = api.export(str(tmp_path / "given.safetensors"), "pt", tmp_path / "out").files
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(4))
    torch.save(images, tmp_path / "images.pt")
    data = write_yolo([coloured_squares(4, "train"), coloured_squares(4, "val", seed=1)], tmp_path / "data")
    question = {"weights": files["pt"], "images": str(tmp_path / "images.pt"), "data": str(data)}
    (tmp_path / "question.json").write_text(json.dumps(question))
    ask_for("exported", tmp_path)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["names"] == list(CLASSES)
    theirs = torch.load(tmp_path / "answer.pt", weights_only=True)
    with torch.inference_mode():
        ours = torch.cat([level.flatten(2) for level in network(images)["o2m"]], 2)
    assert (ours - theirs).abs().max() < 1e-4
    assert answer["moved"] < 1e-3, "a training at almost no learning rate starts from the given weights"
