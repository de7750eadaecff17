from __future__ import annotations

import sys
from pathlib import Path

import pytest

from effscope.errors import EffscopeError
from effscope.reporting.tensorboard import FOLDER, board

ROWS = ({"epoch": 1.0, "box": 2.0, "lr": 0.1}, {"epoch": 2.0, "box": 1.5, "lr": 0.2, "ap": 0.25, "gap": 0.5})


def test_curves_come_back_as_tensorboard_reads_them(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for rows in (ROWS, ROWS[1:]):  # a training that was killed after writing says its last epoch again
        take = board(tmp_path)
        for row in rows:
            take(row)
    found: dict[str, list[tuple[int, float]]] = {}
    events = reading.EventAccumulator(str(tmp_path / FOLDER))
    events.Reload()
    for tag in events.Tags()["scalars"]:
        found[tag] = [(event.step, round(event.value, 6)) for event in events.Scalars(tag)]
    assert found == {
        "loss/box": [(1, 2.0), (2, 1.5)],
        "training/lr": [(1, 0.1), (2, 0.2)],
        "val/ap": [(2, 0.25)],
        "matching/gap": [(2, 0.5)],
    }


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EffscopeError, match=r'pip install "effscope\[track\]"'):
        board(tmp_path)
