"""The run folder: identity, lock, records of jobs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.workspace import IDENTITY, Identity, open_workspace, run_folder

SETTINGS = {"margin": 0.01, "seed": 0, "recipe": {"lr": 0.1}, "threshold": 0.5}
INPUTS = {"the layout": "a", "the val images": "b"}
SEARCH = Identity("search", SETTINGS, INPUTS)


def other(**settings: Any) -> Identity:
    return Identity("search", {**SETTINGS, **settings}, INPUTS)


def begun(folder: Path) -> Path:
    """A folder in which a search has done some work."""
    with open_workspace(folder, SEARCH) as workspace:
        workspace.keep("base-1", {"ap": 0.5})
        assert workspace.settled("threads", lambda: 2) == 2
    return folder


def test_the_same_run_opens_its_folder_again_with_the_threads_it_began_with(tmp_path: Path) -> None:
    begun(tmp_path)
    with open_workspace(tmp_path, SEARCH) as workspace:
        assert workspace.settled("threads", lambda: pytest.fail("asked again")) == 2
        assert workspace.kept("base-1") == {"ap": 0.5}


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        (other(margin=0.02), "holds another search: `margin` differs"),
        (other(margin=0.02, seed=1), "holds another search: `margin` and `seed` differ;"),
        (other(margin=0.02, seed=1, new=1), "holds another search: `margin`, `new` and `seed` differ;"),
        (other(recipe={"lr": 0.2}), "holds another search: `recipe.lr` differs"),
        (Identity("search", SETTINGS, {**INPUTS, "the layout": "c"}), "holds another search: the layout differs;"),
        (
            Identity("search", SETTINGS, {**INPUTS, "the val images": "c"}),
            "holds another search: the val images differ;",
        ),
        (
            Identity("search", {**SETTINGS, "seed": 1}, {"the layout": "c", "the val images": "d"}),
            "holds another search: `seed`, the layout and the val images differ;",
        ),
        (Identity("training", SETTINGS, INPUTS), "holds a search: choose another `out`"),
    ],
)
def test_another_run_is_refused_by_name_and_changes_nothing(tmp_path: Path, identity: Identity, said: str) -> None:
    begun(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.json")}
    with pytest.raises(EffscopeError) as caught, open_workspace(tmp_path, identity):
        pass
    assert said in str(caught.value)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.json")} == before


def test_a_folder_in_which_nothing_was_done_takes_new_settings(tmp_path: Path) -> None:
    with open_workspace(tmp_path, SEARCH) as workspace:
        workspace.settled("threads", lambda: 2)
    with open_workspace(tmp_path, other(margin=0.02)) as workspace:
        assert workspace.settled("threads", lambda: 3) == 3
    assert json.loads((tmp_path / IDENTITY).read_text())["settings"]["margin"] == 0.02


@pytest.mark.parametrize("name", ["train.json", "search.json", "model.safetensors", "journal.jsonl"])
def test_files_of_an_unknown_run_are_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(EffscopeError, match=f"holds {name} of another run"), open_workspace(tmp_path, SEARCH):
        pass
    assert [file.name for file in tmp_path.iterdir() if not file.name.startswith(".")] == [name]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "[" * 100_000, '{"run": "search"}', '{"run": 1, "settings": {}, "inputs": {}, "machine": {}}'],
)
def test_a_damaged_identity_is_said(tmp_path: Path, text: str) -> None:
    begun(tmp_path)
    (tmp_path / IDENTITY).write_text(text)
    with pytest.raises(EffscopeError, match=r"run\.json is damaged or of another version"):
        open_workspace(tmp_path, SEARCH).__enter__()


HOLD = """
import sys, time
from pathlib import Path
from effscope.workspace import Identity, open_workspace
with open_workspace(Path(sys.argv[1]), Identity("search", {})):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_stops_in_one_line_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(EffscopeError) as caught, open_workspace(tmp_path, Identity("search", {})):
            pass
        assert f"is in use by process {process.pid} on " in str(caught.value)
        assert "\n" not in str(caught.value)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    said: list[str] = []
    for _ in range(2):
        with open_workspace(tmp_path, Identity("search", {}), said.append):
            time.sleep(0)
    assert len(said) == 1
    assert f"process {process.pid} on " in said[0]
    assert "ended without finishing" in said[0]


def test_an_error_or_ctrl_c_frees_the_folder(tmp_path: Path) -> None:
    said: list[str] = []
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), open_workspace(tmp_path, SEARCH, said.append):
            raise error
    assert not said


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(EffscopeError, match="cannot"):
        open_workspace(tmp_path / "run", SEARCH).__enter__()


def test_the_place_of_a_folder_may_be_taken_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(EffscopeError, match="cannot make the folder"):
        open_workspace(tmp_path / "run", SEARCH).__enter__()


def test_a_record_counts_only_while_its_artefacts_are_whole(tmp_path: Path) -> None:
    with open_workspace(tmp_path, SEARCH) as workspace:
        weights = workspace.artefact("run-1", ".safetensors")
        weights.write_bytes(b"12345678")
        assert workspace.kept("run-1") is None
        workspace.keep("run-1", {"ap": 0.25, "notes": ["a note"]}, (weights,))
        assert workspace.kept("run-1") == {"ap": 0.25, "notes": ["a note"]}
        weights.write_bytes(b"1234")
        assert workspace.kept("run-1") is None
        weights.unlink()
        assert workspace.kept("run-1") is None
        record = workspace.artefact("run-1", ".json")
        weights.write_bytes(b"12345678")
        for text in ("", "[]", "{}", "[" * 100_000, '{"facts": {}, "files": 3}', record.read_text()[:-20]):
            record.write_text(text)
            assert workspace.kept("run-1") is None


def test_the_same_settings_name_the_same_folder(tmp_path: Path) -> None:
    config = TrainConfig(data="sets/cells/data.yaml")
    found = run_folder("train", "yolov8n runs/a.pt", config.data, config, None)
    assert found == run_folder("train", "yolov8n runs/a.pt", config.data, TrainConfig(data=config.data), None)
    assert found.parts[0] == "runs"
    assert found.name.startswith("train-yolov8n-a-cells-")
    assert found != run_folder("train", "yolov8n runs/a.pt", config.data, TrainConfig(data=config.data, seed=1), None)
    assert run_folder("train", "m", "builtin:shapes", config, tmp_path) == tmp_path


def test_drafts_of_a_killed_process_are_deleted(tmp_path: Path) -> None:
    work = begun(tmp_path) / "work"
    hexed = "0" * 32
    drafts = [tmp_path / f".training.state.{hexed}.tmp", work / f".run-1.training.{hexed}.tmp"]
    mine = [tmp_path / ".mine.tmp", tmp_path / f"a.{hexed}.tmp"]
    for file in (*drafts, *mine):
        file.write_bytes(b"half")
    begun(tmp_path)
    assert not any(file.exists() for file in drafts)
    assert all(file.exists() for file in mine)


def test_a_run_that_was_stopped_in_its_first_epoch_takes_new_settings(tmp_path: Path) -> None:
    """E.g. because memory ran out: a job has asked for the place of an artefact and written nothing."""
    with open_workspace(tmp_path, SEARCH) as workspace:
        workspace.artefact("base-1", ".training")
    with open_workspace(tmp_path, other(batch=4)) as workspace:
        workspace.keep("base-2", {})
    with pytest.raises(EffscopeError, match="`batch` differs"):
        open_workspace(tmp_path, SEARCH).__enter__()
