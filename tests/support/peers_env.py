"""Asks the peers' environment: other tools run there as an outside truth, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[1] / "peers"
PYTHON = PEERS / ".venv" / "bin" / "python"
QUESTIONS = PEERS / "ask.py"

QUIET = {
    "YOLO_CONFIG_DIR": str(Path(tempfile.gettempdir()) / "effscope-peers"),
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "OMP_NUM_THREADS": "1",
}
"""Ultralytics downloads nothing, installs nothing and leaves the home folder alone."""


def ask(script: str, *arguments: object, needs: str = "ultralytics") -> str:
    """Run a script in the peers' environment and return what it printed.

    Skips the test when the environment, or the package the script needs, is not there.
    """
    if not PYTHON.exists():
        pytest.skip(f"no peers' environment at {PYTHON.parents[1]}: `uv sync` in tests/peers makes it")
    environment = os.environ | QUIET
    Path(QUIET["YOLO_CONFIG_DIR"]).mkdir(exist_ok=True)
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({needs!r}) is None)"
    if subprocess.run([PYTHON, "-c", look], capture_output=True, check=False).returncode:
        pytest.skip(f"the peers' environment has no '{needs}'")
    done = subprocess.run(
        [PYTHON, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=environment,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def ask_for(answer: str, folder: Path) -> None:
    """Run one of the functions of `peers/ask.py`: it reads its question in the folder and answers there."""
    ask(QUESTIONS.read_text(encoding="utf-8"), answer, folder)
