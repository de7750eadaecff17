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


def made(name: str, **layers: tuple[str, ...]) -> Layout:
    """A model of the zoo after moves: move, with _ for -, -> the layers that it changes."""
    model = layout(name, N)
    for word, ids in layers.items():
        model = move(model, word.replace("_", "-"), ids)
    return model


MADE = {
    "searched": made("yolov8n", light_head=("22",), cib=("8", "18")),
    "yolov10n": made("yolov10n"),
    "yolov8n, dense": made(
        "yolov8n", slim_50=("2", "8"), slim_75=("21",), shallow=("4", "12"), scdown=("19",), ghost=("7",)
    ),
    "yolov8n, all": made("yolov8n", light_head=("22",), cib=("4",), slim_50=("8",), shallow=("6",), ghost=("3",)),
    "yolov5n": made("yolov5n", slim_50=("8",), slim_75=("6",), shallow=("2", "4"), scdown=("7",)),
    "yolov9t": made("yolov9t", slim_50=("2", "8"), slim_75=("12",)),
    "yolov10n, dense": made("yolov10n", slim_50=("2",), shallow=("21",), ghost=("3",)),
    "yolo11n": made("yolo11n", slim_50=("8", "22"), slim_75=("6",), shallow=("2",), scdown=("5",), ghost=("20",)),
    "yolo12n": made("yolo12n", slim_50=("2", "6"), shallow=("8", "4"), ghost=("5",)),
}  # fmt: skip


QUICK = ("searched", "yolov8n, dense")
"""Cases of every test run; the others are slow."""

CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in MADE]


@pytest.mark.parametrize("name", CASES)
def test_ultralytics_opens_it_and_goes_on_training(name: str, tmp_path: Path) -> None:
    model = MADE[name]
    network = lively(model)
    write_safetensors(tmp_path / "given.safetensors", network.state_dict(), metadata(model, CLASSES, 64))
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
    assert answer["same shapes"], "a training rebuilds the model from its YAML: it must not grow back"
    assert answer["moved"] < 1e-3, "a training at almost no learning rate starts from the given weights"
