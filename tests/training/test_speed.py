"""A busy machine: what is said before long work, and how long the speed is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from effscope import api
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.training import speed
from effscope.training.processes import processes


def machine(monkeypatch: pytest.MonkeyPatch, load: float, used: float = 0.0, cores: int = 2, threads: int = 2) -> None:
    """A machine with this load average, after `used` CPU seconds of this process."""
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(time, "process_time", lambda: used)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)


def said(monkeypatch: pytest.MonkeyPatch, load: float, **of_machine: Any) -> list[str]:
    """The lines about such a machine."""
    machine(monkeypatch, load, **of_machine)
    lines: list[str] = []
    speed.say_if_busy(lines.append)
    return lines


def test_a_busy_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = said(monkeypatch, 2.1)
    assert line == (
        "this machine is busy: other processes keep 2.1 threads running on its 2 cores; this takes longer than on a "
        "quiet machine; with OMP_NUM_THREADS=1 it may take less"
    )


@pytest.mark.parametrize(
    ("load", "used", "cores", "threads"),
    [
        (0.0, 0.0, 2, 2),
        (0.4, 0.0, 2, 2),  # a browser
        (2.1, 120.0, 2, 2),  # what this process itself has done
        (10.0, 0.0, 64, 32),  # the others leave enough cores
        (1.0, 0.0, 2, 1),
        (0.0, 0.0, 2, 4),
    ],
)
def test_a_machine_with_free_cores_is_not(
    load: float, used: float, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(monkeypatch, load, used=used, cores=cores, threads=threads) == []


def test_as_many_threads_as_cores_are_left_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = said(monkeypatch, 5.0, cores=16, threads=16)
    assert "OMP_NUM_THREADS=11" in line
    (line,) = said(monkeypatch, 5.0, cores=2, threads=1)
    assert "OMP_NUM_THREADS" not in line


def test_a_system_without_a_load_average_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "getloadavg", raising=False)
    speed.say_if_busy(pytest.fail)


@pytest.mark.parametrize(("load", "busy"), [(30.0, True), (0.0, False)])
def test_a_training_names_a_busy_machine_before_its_plan(
    load: float, busy: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, load)
    lines: list[str] = []
    api.train(
        "yolov8n", out=tmp_path, say=lines.append, imgsz=64, epochs=1, batch=4, limit_train=4, limit_val=4, device="cpu"
    )
    assert [line.partition(":")[0] for line in lines] == ["this machine is busy"] * busy + ["plan"]


def test_speed_is_measured_long_enough_to_feel_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two steps are quick; then other processes run, and a step takes ten times as long."""
    now, steps, forward = 0.0, 0, Network.forward

    def slower(network: Network, images: torch.Tensor) -> object:
        nonlocal now, steps
        now += 0.01 if steps <= 2 else 0.1
        steps += 1
        return forward(network, images)

    monkeypatch.setattr(Network, "forward", slower)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now))
    found = speed.training_images_per_s(build(expand(layout("yolov8n", 2))), 64, 1, processes("cpu"))
    assert 10 <= found < 15
