"""Peak and bandwidth of this machine: measured once, cached, and measured again if the cache is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from effscope.timing import peaks


@pytest.fixture
def fake_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty cache and fake measurements; the list grows by the dtype of each measurement."""
    measured: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peaks, "_peak", lambda device, dtype: measured.append(str(dtype)) or 2e9)
    monkeypatch.setattr(peaks, "MIN_CPU_SHARE", -1.0)
    monkeypatch.setattr(peaks, "_bandwidth", lambda device: 1e9)
    return measured


def test_this_machine_is_measured_once(fake_machine: list[str], tmp_path: Path) -> None:
    first = peaks.this_machine("cpu", threads=1)
    assert (first.peak("float32"), first.bandwidth, first.ridge("float32")) == (2e9, 1e9, 2.0)
    assert peaks.this_machine("cpu", threads=1) == first and len(fake_machine) == 1
    assert list((tmp_path / "effscope").iterdir()) == [peaks.cache_file()]
    peaks.this_machine("cpu", threads=2)
    peaks.this_machine("cpu", threads=1, dtype="bfloat16")
    assert len(fake_machine) == 3 and len(json.loads(peaks.cache_file().read_text())) == 3
    peaks.this_machine("cpu", threads=1, fresh=True)
    assert len(fake_machine) == 4


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"a": 3}', "\x00", "KEY"])
def test_a_damaged_cache_is_measured_again(fake_machine: list[str], text: str) -> None:
    peaks.this_machine("cpu", threads=1)
    key = next(iter(json.loads(peaks.cache_file().read_text())))
    peaks.cache_file().write_text(json.dumps({key: {"peak": -1, "bandwidth": 1e9}}) if text == "KEY" else text)
    assert peaks.this_machine("cpu", threads=1).peak("float32") == 2e9
    assert len(fake_machine) == 2
    assert key in json.loads(peaks.cache_file().read_text())


def test_a_disturbed_measurement_is_not_cached(fake_machine: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "MIN_CPU_SHARE", 1e9)
    assert "while other processes ran" in peaks.this_machine("cpu", threads=1).source
    assert len(fake_machine) == 1 and not peaks.cache_file().exists()


def test_a_cache_that_cannot_be_written_is_ignored(
    fake_machine: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert peaks.this_machine("cpu", threads=1).bandwidth == 1e9


def test_measuring_restores_the_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peaks, "SECONDS", 0.001)
    monkeypatch.setattr(peaks, "COPIED_BYTES", 1 << 16)
    monkeypatch.setitem(peaks.PROBLEMS, "cpu", peaks.Problems(16, ((4, 8),), 1 << 14))
    before = torch.get_num_threads()
    found = peaks.this_machine("cpu", threads=2)
    assert found.peak("float32") > 0 and found.bandwidth > 0 and "2 threads" in found.name
    assert torch.get_num_threads() == before
