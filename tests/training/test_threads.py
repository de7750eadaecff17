"""A busy machine: what is said before long work, and how many threads a run takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from effscope import api
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build
from effscope.training import threads
from effscope.training.processes import processes

NETWORK = build(expand(layout("yolov8n", 2)))


def machine(
    monkeypatch: pytest.MonkeyPatch, others: float, cores: int = 2, threads_of_torch: int = 2,
    speeds: Mapping[int, float] | None = None,
) -> None:  # fmt: skip
    """A machine on which other processes use so many cores, with a training speed for each number of threads."""
    for name in threads.CHOSEN:
        monkeypatch.delenv(name, raising=False)
    now = threads_of_torch

    def set_threads(n: int) -> None:
        nonlocal now
        now = n

    monkeypatch.setattr(threads, "cores_of_others", lambda: others)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now)
    monkeypatch.setattr(torch, "set_num_threads", set_threads)
    found = {1: 1.0, **(speeds or {})}
    monkeypatch.setattr(threads, "training_images_per_s", lambda *_, steps: found.get(now, 0.5))


def picked() -> tuple[int, list[str]]:
    lines: list[str] = []
    before = torch.get_num_threads()
    found = threads.pick_threads(NETWORK, 64, 2, processes("cpu"), lines.append)
    assert torch.get_num_threads() == before
    return found, lines


def test_the_fastest_number_of_threads_is_taken_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2.0, speeds={1: 30.0, 2: 10.0})
    assert picked() == (1, [
        "this machine is busy: other processes use 2.0 of its 2 cores; this run uses 1 of 2 threads, now 3.0 times as "
        "fast as all of them"
    ])  # fmt: skip
    machine(monkeypatch, 5.0, cores=16, threads_of_torch=16, speeds={16: 20.0, 11: 50.0, 1: 10.0})
    assert picked()[0] == 11


def test_all_threads_stay_where_they_are_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2.0, speeds={1: 10.0, 2: 11.0})
    found, (line,) = picked()
    assert (found, line.partition("; ")[2]) == (2, "this takes longer than on a quiet machine")


@pytest.mark.parametrize(
    ("others", "cores", "of_torch"),
    [
        (0.0, 2, 2),
        (0.4, 2, 2),  # a browser
        (10.0, 64, 32),  # the others leave enough cores
        (1.0, 2, 1),
        (0.0, 2, 4),
    ],
)
def test_a_machine_with_free_cores_is_not_busy(
    others: float, cores: int, of_torch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, others, cores, of_torch)
    monkeypatch.setattr(threads, "training_images_per_s", lambda *_, steps: pytest.fail("nothing to choose"))
    assert picked() == (of_torch, [])


@pytest.mark.parametrize("name", threads.CHOSEN)
def test_the_number_that_a_user_has_chosen_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 2.0, speeds={1: 30.0, 2: 10.0})
    monkeypatch.setenv(name, "2")
    found, (line,) = picked()
    assert (found, line.partition("; ")[2]) == (2, "this takes longer than on a quiet machine")


def test_the_cores_that_others_use_are_counted() -> None:
    """Another process that computes on one core is seen, this process's own work is not."""
    quiet = threads.cores_of_others()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            busy = max(threads.cores_of_others() for _ in range(3))
        finally:
            other.kill()
    assert busy >= min(quiet + 0.3, 0.9 * (os.cpu_count() or 1))


@pytest.mark.parametrize(("others", "busy"), [(30.0, True), (0.0, False)])
def test_a_training_names_a_busy_machine_before_its_plan(
    others: float, busy: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(threads, "cores_of_others", lambda: others)
    lines: list[str] = []
    api.train(
        "yolov8n", out=tmp_path, say=lines.append, imgsz=64, epochs=1, batch=4, limit_train=4, limit_val=4, device="cpu"
    )
    assert [line.partition(":")[0] for line in lines] == ["this machine is busy"] * busy + ["plan"]
