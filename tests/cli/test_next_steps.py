"""The commands that a command ends with: they exist, take these options, and name the user's own files."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.results import BY_KIND

from effscope.cli import next_steps
from effscope.cli.app import app

RANK: Any = BY_KIND["rank"]
SEARCH: Any = replace(BY_KIND["search"], files={"result": "runs/my search/search.json"})  # type: ignore[call-arg]
TRAIN: Any = replace(BY_KIND["train"], files={"result": "runs/t/train.json"})  # type: ignore[call-arg]
EVAL: Any = BY_KIND["eval"]
EXPORT: Any = replace(BY_KIND["export"], files={"pt": "export/my m.pt", "onnx": "export/m.onnx"})  # type: ignore[call-arg]
UNTRAINED: Any = replace(RANK, definition=replace(RANK.definition, weights="random"))

CASES = {
    "rank": (next_steps.after_rank("a b.pt", RANK), ["search 'a b.pt' --data data.yaml"]),
    "rank, untrained": (next_steps.after_rank("yolov8n", UNTRAINED), ["train yolov8n --data data.yaml"]),
    "rank, nothing ranked": (next_steps.after_rank("m.pt", replace(RANK, order=())), []),
    "cost": (next_steps.after_cost("m.pt", "layer"), ["cost m.pt --by stage"]),
    "cost by stage": (next_steps.after_cost("m.pt", "stage"), ["latency m.pt"]),
    "latency": (next_steps.after_latency("m.pt"), ["cost m.pt --by stage --device here"]),
    "train": (
        next_steps.after_train(TRAIN, "d.yaml"), ["eval runs/t --data d.yaml --errors", "search runs/t --data d.yaml"],
    ),
    "train, not learned": (
        next_steps.after_train(replace(TRAIN, ap=0.1), "d.yaml"), ["eval runs/t --data d.yaml --errors"],
    ),
    "eval": (
        next_steps.after_eval("m.pt", "d.yaml", replace(EVAL, errors=())),
        ["eval m.pt --data d.yaml --errors --out eval"],
    ),
    "eval with errors": (next_steps.after_eval("m.pt", "d.yaml", EVAL), ["search m.pt --data d.yaml"]),
    "eval of a graph": (next_steps.after_eval("m.onnx", "d.yaml", EVAL), []),
    "search": (
        next_steps.after_search(SEARCH, "m.pt", "d.yaml"),
        ["export 'runs/my search' --to pt,onnx --out 'runs/my search/export'",
         "eval 'runs/my search' --data d.yaml --errors"],
    ),
    "search, nothing accepted": (
        next_steps.after_search(replace(SEARCH, accepted=()), "m.pt", "d.yaml"),
        ["search m.pt --data d.yaml --target params=-20%"],
    ),
    "search for a target, nothing accepted": (
        next_steps.after_search(replace(SEARCH, accepted=(), target={"flops": 0.3}), "m.pt", "d.yaml"),
        ["search m.pt --data d.yaml --margin 0.02"],
    ),
    "library": (
        next_steps.after_search(replace(SEARCH, base_runs=()), "m.pt", "d.yaml"),
        ["search m.pt --data d.yaml --target params=-20%"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_next_command_is_one_of_ours_and_is_parsed(case: str) -> None:
    commands, expected = CASES[case]
    assert commands == [f"effscope {line}" for line in expected]
    for line in commands:
        _, name, *words = shlex.split(line)
        app.commands[name].make_context(name, words)


def test_an_export_goes_on_in_ultralytics_and_is_checked_on_data() -> None:
    assert next_steps.after_export(EXPORT) == [
        "yolo detect train model='export/my m.pt' data=data.yaml imgsz=64",
        "effscope eval export/m.onnx --data data.yaml",
    ]
    assert next_steps.after_export(replace(EXPORT, files={"yaml": "m.yaml"})) == []


@pytest.mark.parametrize("words", [("cost", "yolov8n"), ("rank", "yolov8n")])
def test_the_next_step_is_the_last_line_and_json_has_none(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *words) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: effscope ")
    for silent in (("--json", "-"), ("-q",)):
        assert run(monkeypatch, *words, *silent) == 0
        assert "next:" not in capsys.readouterr().out
