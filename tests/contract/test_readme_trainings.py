"""The commands of the README that search and train, and its Python examples."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from support.readme import COMMANDS, LONG, PYTHON, make_place, run_shown


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("readme"))


@pytest.mark.parametrize("command", [one for one in COMMANDS if shlex.split(one)[1] in LONG])
def test_command_runs(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_shown(command, place, monkeypatch, capsys)


@pytest.mark.parametrize("code", PYTHON)
def test_python_runs(code: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    exec(compile(code, "README.md", "exec"), {})
