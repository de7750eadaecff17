"""The zoo against Ultralytics: the same parameters to the unit, the same tensors, the same raw outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.peers_env import ask_for

from effscope.costing.nodes import parameters
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import ZOO
from effscope.nn.build import build, view
from effscope.nn.inherit import load_state

FAMILIES = [
    "yolov8n", "yolov8n-p2", "yolov8n-p6", "yolov8n-ghost", "yolov10n", "yolov3-tiny", "yolov5n", "yolov5n-p6",
    "yolov6n", "yolov9t", "yolov9c", "yolov9e", "yolo11n", "yolo11m", "yolo12n", "yolo26n",
]  # fmt: skip
"""One model of each family; its YAML name is the zoo's."""

NOT_THEIRS = ("yolox-", "efficientnet-")
THEIRS = [name for name in ZOO if not name.startswith(NOT_THEIRS)]
"""What Ultralytics has a YAML for."""

WITHIN = 1e-4


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | str]:
    folder = tmp_path_factory.mktemp("counts")
    (folder / "question.json").write_text(json.dumps([f"{name}.yaml" for name in THEIRS]))
    ask_for("counts", folder)
    found: dict[str, int | str] = json.loads((folder / "answer.json").read_text())
    return found


@pytest.mark.parametrize("name", THEIRS)
def test_parameters_to_the_unit(name: str, counted: dict[str, int | str]) -> None:
    assert parameters(expand(ZOO[name](80))) == counted[f"{name}.yaml"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("heads")
    (folder / "question.json").write_text(json.dumps([f"{name}.yaml" for name in FAMILIES]))
    ask_for("heads", folder)
    found: dict[str, dict[str, torch.Tensor]] = torch.load(folder / "answer.pt", weights_only=True)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_weights_give_the_same_raw_outputs(name: str, answers: dict[str, dict[str, torch.Tensor]]) -> None:
    theirs = answers[f"{name}.yaml"]
    network = build(expand(ZOO[name](80))).eval()
    load_state(network, theirs["state"], name)
    with torch.inference_mode():
        ours = network(theirs["images"])
    assert set(theirs["raw"]) == set(ours) - {"decoded"}
    for head, raw in theirs["raw"].items():
        flat = torch.cat([level.flatten(2) for level in ours[head]], 2)
        assert (flat - raw).abs().max() < WITHIN


def test_rtdetr_gives_its_decoder_the_same_maps(tmp_path: Path) -> None:
    (tmp_path / "question.txt").write_text("rtdetr-l.yaml")
    ask_for("projected", tmp_path)
    theirs = torch.load(tmp_path / "answer.pt", weights_only=True)
    network = build(expand(ZOO["rtdetr-l"](80))).eval()
    load_state(network, theirs["state"], "rtdetr-l")
    with torch.inference_mode():
        ours = view(network, "features")(theirs["images"])["features"]
    assert len(ours) == len(theirs["maps"]) == 3
    for a, b in zip(ours, theirs["maps"], strict=True):
        assert (a - b).abs().max() < WITHIN
