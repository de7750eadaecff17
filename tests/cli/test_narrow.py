"""What real models print on a terminal of 80 columns: no row is broken, no name is cut."""

from __future__ import annotations

import re

import pytest
from support.command_line import run

WIDTH = 80
ANSI = re.compile(r"\x1b\[[0-9;]*m")

COMMANDS = {
    "zoo": (),
    "zoo yolov10": (),
    "devices": (),
    "cost yolov8x": ("model.21 (stage 8)",),
    "cost yolov8x --by stage --details": ("between stages",),
    "cost yolov8x --by op": ("batchnorm",),
    "cost yolov8x --by form": ("one head, decoded",),
    "cost yolo12x --imgsz 1280 --dtype float16 --device A100": ("model.20 (stage 8)",),
    "cost yolov10x --as ultralytics --explain": ("ours, 2 FLOPs each", "of another head, which runs too"),
    "cost rtdetr-x --explain": (),
    "cost --layer conv3x3 --cin 1024 --size 320": ("depthwise-separable (dw, pw)",),
    "cost --layer c2f --cin 1024": (),
    "cost --layer psa --cin 512": (),
    "cost --layer class-head --cin 256": (),
    "cost --scale yolov8x --phi 0..3": (),
    "diff yolov8x yolov10x": ("between stages",),
    "rank yolov8x --details": ("model.21.cv2",),
    "rank yolov8n --at all": ("model.22.cv3.2.2",),
}  # fmt: skip
"""Command -> names that must be whole."""


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_fit(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(monkeypatch, *command.split()) == 0
    lines = [ANSI.sub("", line).rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= WIDTH
    assert "…" not in "".join(lines)
    for name in COMMANDS[command]:
        assert any(line.startswith(name) or f"  {name}" in line for line in lines), name
