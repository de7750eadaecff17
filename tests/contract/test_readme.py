"""Every command of the README runs, on data made here; those that search and train are in test_readme_trainings.py."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support.command_line import run
from support.readme import BLOCKS, COMMANDS, LONG, PYTHON, README, make_place, run_shown


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("readme"))


def test_readme_shows_the_commands() -> None:
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert {"rank", "cost", "latency", "devices", "search", "train", "eval"} <= shown
    assert PYTHON
    assert "make search" in README and "make test" in README


@pytest.mark.parametrize("command", [one for one in COMMANDS if shlex.split(one)[1] not in LONG])
def test_command_runs(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_shown(command, place, monkeypatch, capsys)


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
