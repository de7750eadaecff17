"""What happens before torch loads: idle threads of OpenMP are told to sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from effscope import WAITS

SEES = """
import importlib.abc, json, os, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(json.dumps(dict(os.environ)))
            sys.stdout.flush()
            os._exit(0)
sys.meta_path.insert(0, Finder())
"""
"""Prints the environment when torch is about to be imported, and ends the process."""

COMMAND = (
    "import runpy; sys.argv = ['effscope', 'latency', 'yolov8n']; runpy.run_module('effscope', run_name='__main__')"
)
SCRIPT = "from effscope.__main__ import main; sys.argv = ['effscope', 'latency', 'yolov8n']; main()"


def waits(code: str, **given: str) -> dict[str, str]:
    """The variables of `WAITS` that a fresh process prints, if the user has set the given ones."""
    inherited = {name: value for name, value in os.environ.items() if name not in WAITS}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=inherited | given
    )
    printed = json.loads(done.stdout.splitlines()[-1])
    return {name: printed[name] for name in WAITS if name in printed}


@pytest.mark.parametrize("start", [COMMAND, SCRIPT, "import effscope, torch"])
def test_threads_wait_asleep_before_torch_loads(start: str) -> None:
    assert waits(SEES + start) == WAITS


@pytest.mark.parametrize("name", WAITS)
def test_the_users_own_value_wins(name: str) -> None:
    assert waits(SEES + COMMAND, **{name: "7"}) == {name: "7"}


def test_child_processes_have_it_too() -> None:
    child = "import json, os; print(json.dumps(dict(os.environ)))"
    assert waits(f"import effscope, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])") == WAITS


def test_nothing_is_set_once_torch_is_loaded() -> None:
    """It would have no effect here, but on the children."""
    code = "import sys; sys.modules['torch'] = sys\nimport effscope, json, os; print(json.dumps(dict(os.environ)))"
    assert waits(code) == {}
