"""Every file is complete or not there: on a full disk, on interruption, and where no file can be."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from effscope.checkpoint.write import write_safetensors, write_state_dict
from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.files import whole, write_bytes, write_text
from effscope.training.state_file import save_state

MANY = {"a": torch.arange(100_000.0)}

WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "new" * 100_000),
    "bytes": lambda path: write_bytes(path, bytes(400_000)),
    "safetensors": lambda path: write_safetensors(path, MANY, {}),
    "state dict": lambda path: write_state_dict(path, MANY),
    "training state": lambda path: save_state(path, MANY, TrainConfig(), "data"),
}


@contextmanager
def full_disk(n_bytes: int = 4096) -> Iterator[None]:
    """Files of this process cannot grow beyond `n_bytes`: a write fails in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_keeps_the_old_file_and_leaves_no_draft(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(EffscopeError, match=r"cannot write .*/file: .+; check the folder") as caught, full_disk():
        WRITERS[name](path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_be_renamed_leaves_no_draft(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(EffscopeError, match="No space left"):
        WRITERS[name](path)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", WRITERS)
def test_a_written_file_replaces_the_old_one_and_has_the_usual_mode(name: str, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = tmp_path / "new folder" / "file"
    for _ in range(2):
        WRITERS[name](path)
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_size > 100_000
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_is_not_replaced(name: str, tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="it is a folder; give the name of a file"):
        WRITERS[name](tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_other_errors_pass_and_leave_no_draft(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), whole(tmp_path / "file") as draft:
        draft.write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_file_needs_a_name() -> None:
    with pytest.raises(EffscopeError, match="give the name of a file"):
        write_text(Path("/"), "text")
