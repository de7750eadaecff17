"""`experiments/run.py`: what is missing is one line and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "run.py"


@pytest.mark.parametrize("experiment", ["bccd-yolov8n", "rank-yolov8n", "target", "verdicts"])
def test_missing_data_are_one_line_and_exit_code_two(experiment: str, tmp_path: Path) -> None:
    place = tmp_path / "nowhere"
    done = subprocess.run(
        [sys.executable, SCRIPT, experiment, "--data", str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(place) in done.stderr and "--data" in done.stderr
