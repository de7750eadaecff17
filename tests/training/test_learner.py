"""Training when memory runs out, and frozen layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.small_detector import coloured_squares, small_network

import effscope
from effscope.config import EvalConfig, TrainConfig
from effscope.data.sample import DataSet
from effscope.detect.bank import load_bank
from effscope.detect.evaluate import evaluate
from effscope.errors import EffscopeError, ran_out_of_memory
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build, digest
from effscope.recipes import Recipe
from effscope.training.batches import plain_batch
from effscope.training.freezing import frozen_layers
from effscope.training.learner import Learner, make_learner
from effscope.training.optimise import Rates
from effscope.training.processes import Processes, processes
from effscope.training.train import Trained, train

CONFIG = TrainConfig(data="made", imgsz=64, epochs=2, batch=4, device="cpu", recipe=Recipe(close_mosaic_epochs=1))
DATA = coloured_squares(10)


def headed(pairing: str) -> Network:
    """A small detector with a head of this pairing."""
    plain = layout("yolov8n", 2)
    *body, head = plain.layers
    return build(expand(replace(plain, layers=(*body, replace(head, args=("nc", "standard", pairing))))))


class Memory:
    """An allocator with memory for a forward pass of at most `most` images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: BaseException):
        self.sizes: list[int] = []
        self.most = most
        forward = Network.forward

        def limited(network: Network, images: torch.Tensor) -> object:
            self.sizes.append(len(images))
            if len(images) > self.most:
                raise error
            return forward(network, images)

        monkeypatch.setattr(Network, "forward", limited)


ERRORS = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    RuntimeError("could not create a primitive"),
    MemoryError(),
)


@pytest.mark.parametrize("error", ERRORS, ids=("cuda", "cpu", "oneDNN", "python"))
def test_out_of_memory_halves_the_batch_and_says_so(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    memory, said = Memory(monkeypatch, 2, error), list[str]()
    found = train(small_network(), DATA, CONFIG, say=said.append)
    halves = [2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]  # of ten images, each twice: first for the divisor of the batch
    assert memory.sizes == [4, *halves, *halves]  # four images did not fit once
    assert said == list(found.notes)
    assert "parts of 2" in said[0]
    assert len(said) == 1
    assert len(found.history) == 2


def gradients(pairing: str, parts: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Losses and gradients of one batch, learnt in parts with norms in eval mode. Its second half has no box."""
    bank = load_bank(coloured_squares(4), 64)
    batch = plain_batch(bank, range(4))
    batch.truth.valid[2:] = False
    learner = make_learner(headed(pairing), CONFIG, processes("cpu"))
    for module in learner.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    learner.parts = parts
    terms = learner.learn(batch)
    named = learner.network.named_parameters()
    return terms, {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("pairing", ["o2m", "dual"])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_parts_add_up_to_the_batch(pairing: str, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effscope.nn.precision.gains_from_bfloat16", lambda _: False)
    terms, whole = gradients(pairing, 1)
    in_parts, summed = gradients(pairing, parts)
    torch.testing.assert_close(in_parts, terms, rtol=1e-5, atol=1e-6)
    assert whole.keys() == summed.keys() != set()
    for name, gradient in whole.items():
        assert (summed[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name


def test_finding_the_divisor_changes_no_norm() -> None:
    learner = make_learner(small_network(), CONFIG, processes("cpu"))
    before = {key: value.clone() for key, value in learner.network.state_dict().items()}
    learner._divisors(plain_batch(load_bank(coloured_squares(4), 64), range(4)).parts(2))
    after = learner.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_halved_training_resumes_halved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Memory(monkeypatch, 2, MemoryError())
    halved = train(small_network(), DATA, CONFIG)
    assert resumed(DATA, CONFIG, tmp_path / "state") == (halved.notes, digest(halved.state))


def resumed(data: DataSet, config: TrainConfig, file: Path) -> tuple[tuple[str, ...], str]:
    """Notes and weights of a training that is interrupted in its second epoch and resumed."""

    def stop(_: float, text: str) -> None:
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_network(), data, config, state_file=file, progress=stop)
    found = train(small_network(), data, config, state_file=file)
    return found.notes, digest(found.state)


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
    assert calls == 2 + 2 * 4 + 2 * 2  # the first step's two batches again, each in two parts, twice; the last batch


def test_one_image_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, 0, MemoryError())
    with pytest.raises(EffscopeError, match="one image at a time: give a smaller `imgsz`"):
        train(small_network(), DATA, CONFIG)


def test_when_a_small_batch_runs_out_of_memory_larger_ones_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 4 and 2 images wait for one step. Memory runs out with the 2, then with halves of the 4."""
    memory = Memory(monkeypatch, 4, MemoryError())
    bank = load_bank(DATA, 64)
    learner = make_learner(small_network(), CONFIG, processes("cpu"))
    learner.learn(plain_batch(bank, range(4)))
    memory.most = 1
    learner.learn(plain_batch(bank, range(2)))
    assert learner.parts == 4
    assert "batches of 4 are trained in parts of 1" in learner.notes[-1]


def test_the_command_says_that_memory_ran_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Memory(monkeypatch, 2, MemoryError())
    said: list[str] = []
    result = effscope.train(
        "yolov8n", imgsz=64, epochs=1, batch=4, limit_train=6, limit_val=2, out=tmp_path / "run", say=said.append
    )
    assert any("out of memory" in line for line in said)
    assert len(result.notes) == 1


def test_gradients_that_are_not_finite_stop_and_name_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = Processes.sum_gradients

    def spoilt(group: Processes, network: torch.nn.Module) -> None:
        sums(group, network)
        next(network.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]

    monkeypatch.setattr(Processes, "sum_gradients", spoilt)
    with pytest.raises(EffscopeError, match=r"gradients are not finite in epoch 1, batch 1 \(images train"):
        train(small_network(), DATA, replace(CONFIG, recipe=replace(CONFIG.recipe, nominal_batch=4)))


def test_images_without_a_box_are_learnt_as_background() -> None:
    empty = tuple(replace(s, boxes=s.boxes[:0], labels=s.labels[:0]) for s in DATA.samples)
    found = train(small_network(), replace(DATA, samples=empty), replace(CONFIG, epochs=1))
    assert found.history[0]["box"] == found.history[0]["dfl"] == 0
    assert found.history[0]["cls"] > 0
    one = train(small_network(), replace(DATA, samples=DATA.samples[:1]), replace(CONFIG, epochs=1))
    assert one.images_per_s > 0


def test_other_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ran_out_of_memory(RuntimeError("shapes do not match"))
    Memory(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        train(small_network(), DATA, CONFIG)


# -- frozen layers ---------------------------------------------------------------------------------------------------


def moved_layers(found: Trained, before: Network) -> set[int]:
    state = before.state_dict()
    return {int(key.split(".")[1]) for key in state if not torch.equal(found.state[key], state[key])}


def test_frozen_layers_keep_every_tensor() -> None:
    network = small_network()
    found = train(network, DATA, replace(CONFIG, freeze=10))
    assert min(moved_layers(found, network)) == 12  # 10 and 11 own no tensors
    assert {row["frozen"] for row in found.history} == {10.0}
    assert min(moved_layers(train(network, DATA, CONFIG), network)) == 0


def test_the_deepest_layers_unfreeze_first() -> None:
    config = replace(CONFIG, freeze=10, unfreeze_epochs=4)
    assert [frozen_layers(epoch, config) for epoch in range(6)] == [10, 8, 5, 3, 0, 0]
    evenly = replace(config, unfreeze_epochs=10)
    assert [frozen_layers(epoch, evenly) for epoch in range(11)] == list(range(10, -1, -1))
    assert frozen_layers(99, replace(config, unfreeze_epochs=0)) == 10
    network = small_network()
    found = train(network, DATA, replace(CONFIG, freeze=10, unfreeze_epochs=4))  # two epochs: 10, then 8
    assert min(moved_layers(found, network)) == 8
    assert [row["frozen"] for row in found.history] == [10.0, 8.0]


def test_a_training_that_unfreezes_resumes_where_it_was(tmp_path: Path) -> None:
    config = replace(CONFIG, freeze=10, unfreeze_epochs=2)
    whole = train(small_network(), DATA, config)
    assert resumed(DATA, config, tmp_path / "state") == ((), digest(whole.state))


def test_freezing_everything_or_unfreezing_nothing_is_refused() -> None:
    with pytest.raises(EffscopeError, match="the head must train, so give at most 22 of 23 layers"):
        train(small_network(), DATA, replace(CONFIG, freeze=23))
    with pytest.raises(EffscopeError, match="`unfreeze_epochs` needs frozen layers"):
        train(small_network(), DATA, replace(CONFIG, unfreeze_epochs=3))


def test_a_dual_head_reports_its_matching_and_a_one_to_one_head_learns() -> None:
    for pairing, reported in (("dual", True), ("o2o", False)):
        found = train(headed(pairing), DATA, CONFIG, val_set=DATA)
        assert ({"gap", "top1", "top5", "top10"} <= found.history[-1].keys()) == reported
        assert "ap" in found.history[-1]


def test_scoring_halves_its_batch_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    network, config = small_network(), EvalConfig(imgsz=64, batch=8, device="cpu", conf=1e-6)
    whole = evaluate(network, DATA, config)
    memory = Memory(monkeypatch, 2, MemoryError())
    halved = evaluate(network, DATA, config)
    assert max(memory.sizes) == 8
    assert [len(one.scores) for one in halved.detections] == [len(one.scores) for one in whole.detections]
    memory.most = 0
    with pytest.raises(MemoryError):
        evaluate(network, DATA, config)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Learner.step

    def spoilt(self: Learner, now: Rates) -> bool:
        done = step(self, now)
        next(iter(self.average.state.values())).fill_(float("nan"))
        return done

    monkeypatch.setattr(Learner, "step", spoilt)
    with pytest.raises(EffscopeError, match="weights are not finite after epoch 1"):
        train(small_network(), DATA, CONFIG, state_file=tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_an_image_size_with_one_cell_is_refused() -> None:
    with pytest.raises(EffscopeError, match="at least 64"):
        train(small_network(), DATA, replace(CONFIG, imgsz=32))
