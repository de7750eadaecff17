"""Every command and every Python example of the README runs, on data made here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copyfile

import pytest
from support.command_line import run
from support.small_detector import coloured_squares
from support.tiny_search import LAYOUT
from support.tiny_search import LEARNS as SMALL_LEARNS

from effscope import api
from effscope.data.write import write_yolo

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
LEARNS = "standard,lr=0.01,warmup_epochs=1,mosaic=0,scale=0,translate=0,ema_ramp_steps=50"
"""A recipe with which yolov8n learns coloured squares within a minute."""
SMALL = {
    "train": "--imgsz 64 --epochs 1 --batch 8 --limit-train 8 --limit-val 4",
    "search": f"--imgsz 64 --base-epochs 25 --epochs 1 --batch 8 --recipe {LEARNS} --margin 0 --runs 2",
    "eval": "--imgsz 64 --limit-val 4",
    "latency": "--imgsz 64 --rounds 2",
}
"""Options that make a command of the README fast; what it shows stays the same kind of thing."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained `best.safetensors` and a `data.yaml` of the same classes, as a user would have; and a
    trained model of three stages, which is searched faster."""
    folder = tmp_path_factory.mktemp("readme")
    yaml = write_yolo([coloured_squares(48), coloured_squares(12, "val", seed=3)], folder / "data")
    (folder / "data.yaml").write_text(f"path: {yaml.parent}\n{yaml.read_text()}")
    data = str(folder / "data.yaml")
    done = api.train(
        "yolov8n", data=data, out=folder / "run", imgsz=64, epochs=25, batch=8, recipe=LEARNS, eval_every=0
    )
    assert done.ap > 0.3
    copyfile(folder / "run" / "model.safetensors", folder / "best.safetensors")
    (folder / "small.yaml").write_text(LAYOUT)
    small = api.train(
        str(folder / "small.yaml"), data=data, out=folder / "small", imgsz=64, epochs=20, batch=8, recipe=SMALL_LEARNS,
        eval_every=0,
    )  # fmt: skip
    assert small.ap > 0.3
    copyfile(folder / "small" / "model.safetensors", folder / "small.safetensors")
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
    if words[1] == "search":
        words = ["small.safetensors" if word == "best.safetensors" else word for word in words]
        words += ["--runtime", "torch"]  # tests/searching has those through onnxruntime
    single = {**os.environ, "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(argv, cwd=place, capture_output=True, text=True, env=single, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if words[1] == "search":
        assert "kept: " in done.stdout


SHOWN = {
    "cost --layer conv3x3 --cin 256": "conv3x3 stride 2",
    "cost yolov10n --as ultralytics --explain": "yolov10n at 640 px as ultralytics",
    "zoo yolov10": "built-in models",
}
"""Command of the README whose output is the same everywhere -> how the block that shows it begins."""


@pytest.mark.parametrize("command", SHOWN)
def test_shown_tables_are_what_the_command_prints(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"$ effscope {command}" in README
    (shown,) = (text for kind, text in BLOCKS if kind == "text" and text.startswith(SHOWN[command]))
    assert run(monkeypatch, *shlex.split(command)) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    for line in shown.splitlines():
        assert line.rstrip() in printed


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(compile(code, "README.md", "exec"), {})
