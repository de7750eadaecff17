"""Every command and every Python example of the README runs, on data made here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from effscope.checkpoint.write import write_safetensors
from effscope.data.load import load
from effscope.data.write import write_yolo
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.nn.build import build

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for language, text in BLOCKS
    if language == "console"
    for line in text.splitlines()
    if line.startswith("$ effscope")
]
PYTHON = [text for language, text in BLOCKS if language == "python"]
SMALL = {
    "train": "--imgsz 64 --epochs 1 --batch 4 --limit-train 4 --limit-val 4",
    "search": "--imgsz 64 --base-epochs 1 --epochs 1 --batch 4 --limit-train 4 --limit-val 4",
    "eval": "--imgsz 64 --limit-val 4",
    "latency": "--imgsz 64 --rounds 2",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `best.safetensors` and a `data.yaml`, as a user would have."""
    folder = tmp_path_factory.mktemp("readme")
    splits = [load("builtin:shapes", split, 6) for split in ("train", "val")]
    classes = splits[0].classes
    model = layout("yolov8n", len(classes))
    write_safetensors(folder / "best.safetensors", build(expand(model)).state_dict(), metadata(model, classes, 64))
    yaml = write_yolo(splits, folder / "data")
    (folder / "data.yaml").write_text(f"path: {yaml.parent}\n{yaml.read_text()}")
    return folder


def test_readme_shows_the_commands() -> None:
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert {"rank", "cost", "latency", "devices", "search", "train", "eval"} <= shown
    assert PYTHON
    assert "make search" in README and "make test" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs(command: str, place: Path) -> None:
    words = shlex.split(command, comments=True)
    words += shlex.split(SMALL.get(words[1], ""))
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, env=single, check=False)
    untrained = words[1] == "search" and "has not learned" in done.stderr
    assert done.returncode == (1 if untrained else 0), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(compile(code, "README.md", "exec"), {})
