"""Checkpoints that the installed Ultralytics writes, read here without running them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.peers_env import ask_for

from effscope.checkpoint.read import read_checkpoint
from effscope.layouts.zoo.catalog import layout
from effscope.models.open import open_model

FILES = {
    "saved": ("model weights", torch.float16),
    "fp16": ("EMA weights", torch.float16),
    "fp32": ("model weights", torch.float32),
    "ema": ("EMA weights", torch.float32),
    "both": ("whole model", torch.float32),
}
"""Checkpoint -> which weights are taken, their dtype. `ema` holds other weights under `model`."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("checkpoints")
    ask_for("save", made)
    return made


@pytest.mark.parametrize("name", FILES)
def test_state_and_classes_are_read(name: str, folder: Path) -> None:
    which, dtype = FILES[name]
    checkpoint = read_checkpoint(folder / f"{name}.pt")
    truth = read_checkpoint(folder / f"{name}.safetensors").state
    assert checkpoint.kind == "ultralytics"
    assert which in checkpoint.source
    assert checkpoint.class_names == tuple(f"kind {k}" for k in range(80))
    assert checkpoint.own_yaml is not None
    assert checkpoint.own_yaml["nc"] == 80
    assert set(checkpoint.state) == set(truth)
    for key, value in truth.items():
        assert checkpoint.state[key].dtype == value.dtype
        assert torch.equal(checkpoint.state[key], value), key
    assert {value.dtype for value in truth.values() if value.is_floating_point()} == {dtype}


@pytest.mark.parametrize("name", FILES)
def test_it_opens_as_the_model_it_is(name: str, folder: Path) -> None:
    opened = open_model(str(folder / f"{name}.pt"))
    assert opened.layout == layout("yolov8n")
    assert opened.state is not None
    built = opened.network().state_dict()
    assert all(torch.equal(built[key].float(), value.float()) for key, value in opened.state.items())
