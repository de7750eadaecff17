"""The commands and examples of the README, and a place in which they run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from shutil import copyfile

import pytest

from effscope import api
from effscope.data.write import write_yolo
from support.command_line import run
from support.small_detector import coloured_squares
from support.tiny_search import LAYOUT
from support.tiny_search import LEARNS as SMALL_LEARNS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = list(
    dict.fromkeys(
        line.removeprefix("$ ")
        for language, text in BLOCKS
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ effscope")
    )
)
PYTHON = [text for language, text in BLOCKS if language == "python"]
LONG = ("search", "train")
"""Commands that test_readme_trainings.py runs; the two files run side by side."""

LEARNS = "standard,lr=0.01,warmup_epochs=1,mosaic=0,scale=0,translate=0,ema_ramp_steps=50"
"""A recipe with which yolov8n learns coloured squares within a minute."""
SMALL = {
    "train": "--imgsz 64 --epochs 1 --batch 8 --limit-train 8 --limit-val 4",
    "search": f"--imgsz 64 --base-epochs 25 --epochs 1 --batch 8 --recipe {LEARNS} --margin 0 --runs 2",
    "eval": "--imgsz 64 --limit-val 4",
    "latency": "--imgsz 64 --rounds 2",
}
"""Options that make a command of the README fast; what it shows stays the same kind of thing."""


FASTER = {"best.pt": "small.pt", "yolov8n": "small.yaml"}
"""Base of a search in the README -> a smaller one that takes the same way."""


def make_place(folder: Path) -> Path:
    """A folder with a trained `best.pt` and a `data.yaml` of the same classes, as a user would have; and a
    trained model of three stages, which is searched faster."""
    yaml = write_yolo([coloured_squares(48), coloured_squares(12, "val", seed=3)], folder / "data")
    (folder / "data.yaml").write_text(f"path: {yaml.parent}\n{yaml.read_text()}")
    data = str(folder / "data.yaml")
    done = api.train(
        "yolov8n", data=data, out=folder / "run", imgsz=64, epochs=25, batch=8, recipe=LEARNS, eval_every=0
    )
    assert done.ap > 0.3
    (folder / "small.yaml").write_text(LAYOUT)
    small = api.train(
        str(folder / "small.yaml"), data=data, out=folder / "small", imgsz=64, epochs=20, batch=8, recipe=SMALL_LEARNS,
        eval_every=0,
    )  # fmt: skip
    assert small.ap > 0.3
    for run_name, names in (("run", ("best",)), ("small", ("small", "last"))):
        exported = api.export(str(folder / run_name), "pt", folder / "exported").files["pt"]
        for name in names:
            copyfile(exported, folder / f"{name}.pt")
    return folder


def run_shown(command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command of the README in the place, with the options that make it fast."""
    words = shlex.split(command, comments=True)
    words += shlex.split(SMALL.get(words[1], ""))
    if words[1] == "search":
        words = [FASTER.get(word, word) for word in words]
        words += ["--runtime", "torch"]  # tests/searching has those through onnxruntime
    monkeypatch.chdir(place)
    capsys.readouterr()
    code = run(monkeypatch, *words[1:])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "Traceback" not in printed.err
    if words[1] == "search":
        assert "kept: " in printed.out
