"""Memory that runs out, layers that keep still."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_detector import coloured_squares, small_network

from effscope.config import TrainConfig
from effscope.errors import EffscopeError
from effscope.nn.build import Network
from effscope.recipes import Recipe
from effscope.training.freezing import frozen_layers
from effscope.training.learner import ran_out_of_memory
from effscope.training.train import Trained, train

CONFIG = TrainConfig(data="made", imgsz=64, epochs=2, batch=4, device="cpu", recipe=Recipe(close_mosaic_epochs=1))
DATA = coloured_squares(10)


class Memory:
    """Lets a forward pass of at most `most` pictures through, as an allocator with so much room would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: BaseException):
        self.sizes: list[int] = []
        forward = Network.forward

        def limited(network: Network, images: torch.Tensor) -> object:
            self.sizes.append(len(images))
            if len(images) > most:
                raise error
            return forward(network, images)

        monkeypatch.setattr(Network, "forward", limited)


ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    MemoryError(),
)


@pytest.mark.parametrize("error", ERRORS, ids=("cuda", "cpu", "python"))
def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    memory, said = Memory(monkeypatch, 2, error), list[str]()
    found = train(small_network(), DATA, CONFIG, say=said.append)
    assert memory.sizes == [4, *(2, 2, 2, 2, 1, 1), *(2, 2, 2, 2, 1, 1)]  # ten pictures, twice; four did not fit once
    assert said == list(found.notes)
    assert "parts of 2" in said[0]
    assert len(said) == 1
    assert len(found.history) == 2


def test_halved_batches_end_near_whole_ones_and_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Batch norms aside, parts add up to the batch: the losses of the first epoch are close."""
    whole = train(small_network(), DATA, CONFIG)
    Memory(monkeypatch, 2, MemoryError())
    halved = train(small_network(), DATA, CONFIG)
    assert halved.history[0]["cls"] == pytest.approx(whole.history[0]["cls"], rel=0.5)

    def stop(_: float, text: str) -> None:
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_network(), DATA, CONFIG, state_file=tmp_path / "state", progress=stop)
    resumed = train(small_network(), DATA, CONFIG, state_file=tmp_path / "state")
    assert resumed.notes == halved.notes
    assert all(torch.equal(resumed.state[key], halved.state[key]) for key in halved.state)


def test_accumulated_batches_are_learnt_again_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    forward = Network.forward

    def late(network: Network, images: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise MemoryError
        return forward(network, images)

    recipe = replace(CONFIG.recipe, nominal_batch=8)
    monkeypatch.setattr(Network, "forward", late)
    train(small_network(), DATA, replace(CONFIG, epochs=1, recipe=recipe))
    assert calls == 2 + 4 + 2  # the first step's two batches again, each in two parts; then the last batch


def test_one_picture_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, 0, MemoryError())
    with pytest.raises(EffscopeError, match="one picture at a time: give a smaller --imgsz"):
        train(small_network(), DATA, CONFIG)


def test_other_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ran_out_of_memory(RuntimeError("shapes do not match"))
    Memory(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        train(small_network(), DATA, CONFIG)


# -- layers that keep still -------------------------------------------------------------------------------------------


def moved_layers(found: Trained, before: Network) -> set[int]:
    state = before.state_dict()
    return {int(key.split(".")[1]) for key in state if not torch.equal(found.state[key], state[key])}


def test_frozen_layers_keep_every_tensor() -> None:
    network = small_network()
    found = train(network, DATA, replace(CONFIG, freeze=10))
    assert min(moved_layers(found, network)) == 12  # 10 and 11 own no tensors
    assert {row["frozen"] for row in found.history} == {10.0}
    assert min(moved_layers(train(network, DATA, CONFIG), network)) == 0


def test_layers_thaw_the_deepest_first() -> None:
    config = replace(CONFIG, freeze=10, unfreeze_epochs=4)
    assert [frozen_layers(epoch, config) for epoch in range(6)] == [10, 8, 5, 3, 0, 0]
    assert frozen_layers(99, replace(config, unfreeze_epochs=0)) == 10
    network = small_network()
    found = train(network, DATA, replace(CONFIG, freeze=10, unfreeze_epochs=4))  # two epochs: 10, then 8
    assert min(moved_layers(found, network)) == 8
    assert [row["frozen"] for row in found.history] == [10.0, 8.0]


def test_freezing_everything_or_thawing_nothing_is_refused() -> None:
    with pytest.raises(EffscopeError, match="23 layers and its head must train"):
        train(small_network(), DATA, replace(CONFIG, freeze=23))
    with pytest.raises(EffscopeError, match="--freeze froze"):
        train(small_network(), DATA, replace(CONFIG, unfreeze_epochs=3))


def test_a_dual_head_reports_its_matching_and_a_one_to_one_head_learns() -> None:
    from effscope.expand import expand
    from effscope.families.catalog import layout
    from effscope.nn.build import build

    for pairing, reported in (("dual", True), ("o2o", False)):
        plain = layout("yolov8n", 2)
        *body, head = plain.layers
        shape = replace(plain, layers=(*body, replace(head, args=("nc", "standard", pairing))))
        found = train(build(expand(shape)), DATA, CONFIG, val_set=DATA)
        assert ({"gap", "top1", "top5", "top10"} <= found.history[-1].keys()) == reported
        assert "ap" in found.history[-1]
