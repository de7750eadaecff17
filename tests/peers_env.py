"""Asks the peers' environment: other tools run there as an outside truth, in a process of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PYTHON = Path(__file__).parent / "peers" / ".venv" / "bin" / "python"


def ask(script: str, *arguments: object, needs: str = "ultralytics") -> str:
    """Run a script in the peers' environment and return what it printed.

    Skips the test when the environment, or the package the script needs, is not there.
    """
    if not PYTHON.exists():
        pytest.skip(f"no peers' environment at {PYTHON.parents[1]}: `uv sync` in tests/peers makes it")
    if subprocess.run([PYTHON, "-c", f"import {needs}"], capture_output=True, check=False).returncode:
        pytest.skip(f"the peers' environment has no '{needs}'")
    done = subprocess.run(
        [PYTHON, "-c", script, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
