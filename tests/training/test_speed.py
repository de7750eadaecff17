"""How long the speed is measured."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build
from effscope.training import speed
from effscope.training.processes import processes


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
