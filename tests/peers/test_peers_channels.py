"""Images of one or four channels and rectangles, against Ultralytics: parameters, checkpoints, and its own FLOPs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.peers_env import ask_for

from effscope import api
from effscope.errors import EffscopeError
from effscope.results import CostResult

CASES = [("yolov8n", 1, (320, 640)), ("yolov8n", 4, (96, 64))]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("channels")
    (folder / "question.json").write_text(json.dumps(CASES))
    ask_for("channels", folder)
    return folder, json.loads((folder / "answer.json").read_text())


@pytest.mark.parametrize(("name", "ch", "sides"), CASES)
def test_counts_are_those_of_ultralytics(
    name: str, ch: int, sides: tuple[int, int], told: tuple[Path, dict[str, Any]]
) -> None:
    folder, answers = told
    right = answers[f"{name}-{ch}"]
    found = api.cost(name, imgsz=(1, ch, *sides))
    assert isinstance(found, CostResult) and found.params == right["params"]
    (row,) = api.counters(name, imgsz=(1, ch, *sides), counter="ultralytics").rows
    assert row.count == right["flops"]
    file = str(folder / f"{name}-{ch}.pt")
    opened = api.cost(file, imgsz=sides)
    assert isinstance(opened, CostResult), "the layout of the checkpoint was not recognised"
    assert (opened.params, opened.macs) == (found.params, found.macs)
    assert api.rank(file).order


def test_what_needs_colour_images_says_so(told: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    grey = str(told[0] / "yolov8n-1.pt")
    with pytest.raises(EffscopeError, match="takes images with 1 channels: it can be counted, ranked and timed"):
        api.eval(grey, "builtin:shapes")
    with pytest.raises(EffscopeError, match="is for images with 1 channels, not 4"):
        api.cost(grey, imgsz=(1, 4, 64, 64))
    assert api.latency(grey, imgsz=(64, 96), rounds=1).rows
    api.export(grey, "yaml,onnx,pt", tmp_path, imgsz=64)
    again = api.cost(str(next(tmp_path.glob("*.yaml"))), imgsz=64)
    assert isinstance(again, CostResult) and again.params == told[1]["yolov8n-1"]["params"]
    assert api.cost(str(next(tmp_path.glob("*.pt"))), imgsz=64).params == again.params
