from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from support.small_detector import CLASSES, coloured_squares, small_network

from effscope.config import EvalConfig, TrainConfig
from effscope.data.sample import DataSet
from effscope.detect.evaluate import Evaluation, evaluate
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build, digest
from effscope.nn.fuse import deploy
from effscope.recipes import Recipe
from effscope.training import train as train_module
from effscope.training.learner import Learner
from effscope.training.optimise import MovingAverage, Rates, make_optimizer, rates
from effscope.training.state_file import load_state
from effscope.training.train import Trained, train

CONFIG = TrainConfig(data="made", imgsz=64, epochs=3, batch=4, device="cpu", recipe=Recipe(close_mosaic_epochs=1))
DATA = coloured_squares(10)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """One thread: networks this small are not faster with more threads, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def equal(a: Trained, b: Trained) -> bool:
    return a.state.keys() == b.state.keys() and all(torch.equal(a.state[key], b.state[key]) for key in a.state)


@pytest.fixture(scope="module")
def whole() -> Trained:
    return train(small_network(), DATA, CONFIG)


def stop_after(epochs: int, error: type[BaseException]) -> Callable[[float, str], None]:
    """Progress that interrupts in the middle of the next epoch."""

    def progress(_: float, text: str) -> None:
        if text.startswith(f"epoch {epochs + 1}/"):
            raise error

    return progress


def test_result_holds_every_key_and_a_row_per_epoch(whole: Trained) -> None:
    state = small_network().state_dict()
    assert whole.state.keys() == state.keys()
    assert all(whole.state[key].dtype == value.dtype for key, value in state.items())
    assert [row["epoch"] for row in whole.history] == [1, 2, 3]
    assert whole.history[0].keys() >= {"box", "cls", "dfl", "lr", "seconds"}
    assert whole.images_per_s > 0
    assert whole.peak_memory_mb > 0
    assert torch.equal(whole.state["model.22.dfl.conv.weight"].flatten(), torch.arange(16.0))


def test_equal_seeds_give_equal_weights_and_nothing_else_changes(whole: Trained) -> None:
    network, random_state = small_network(), torch.random.get_rng_state()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    again = train(network, DATA, CONFIG)
    assert equal(again, whole)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not equal(train(network, DATA, replace(CONFIG, seed=1, epochs=1)), whole)


def test_interrupted_and_resumed_gives_the_same_weights(whole: Trained, tmp_path: Path) -> None:
    file = tmp_path / "states" / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(small_network(), DATA, CONFIG, progress=stop_after(2, KeyboardInterrupt), state_file=file)
    identity = f"{DATA.digest}+{digest(small_network().state_dict())}"
    assert load_state(file, CONFIG, identity)["moved"]["epoch"] == 2
    with pytest.raises(EffscopeError, match="starting weights differ"):
        train(small_network(seed=9), DATA, CONFIG, state_file=file)
    resumed = train(small_network(), DATA, CONFIG, state_file=file)
    assert equal(resumed, whole)
    assert [row["epoch"] for row in resumed.history] == [1, 2, 3]
    assert equal(train(small_network(), DATA, CONFIG, state_file=file), whole)  # already finished


def test_a_failed_save_keeps_the_previous_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.pt"
    train(small_network(), DATA, replace(CONFIG, epochs=1), state_file=file)
    kept = file.read_bytes()

    def half_written(_: object, stream: BinaryIO) -> None:
        stream.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(EffscopeError, match=r"cannot write .*disk full"):
        train(small_network(), DATA, CONFIG, state_file=tmp_path / "other.pt")
    assert file.read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"epochs": 5}, "epochs"), ({"recipe": Recipe(lr=1.0, close_mosaic_epochs=1)}, r"recipe\.lr"), ({}, "the data")],
)
def test_state_of_another_training_is_refused(change: dict[str, object], named: str, tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    config = replace(CONFIG, epochs=1)
    train(small_network(), DATA, config, state_file=file)
    data = DATA if change else coloured_squares(11)
    with pytest.raises(EffscopeError, match=named):
        train(small_network(), data, replace(config, **change), state_file=file)


def test_damaged_state_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    file.write_bytes(b"not a state")
    with pytest.raises(EffscopeError, match="delete it"):
        train(small_network(), DATA, CONFIG, state_file=file)


def test_loss_that_is_not_finite_names_the_batch() -> None:
    network = small_network()
    with torch.no_grad():
        network.get_submodule("model.0.conv").weight.fill_(float("nan"))
    with pytest.raises(EffscopeError, match=r"epoch 1, batch 1 \(images train\d, "):
        train(network, DATA, CONFIG)


def test_unreadable_images_do_not_stop_the_training(tmp_path: Path) -> None:
    broken = replace(DATA.samples[0], image=tmp_path / "gone.jpg")
    found = train(small_network(), replace(DATA, samples=(broken, *DATA.samples[1:])), replace(CONFIG, epochs=1))
    assert equal(found, train(small_network(), replace(DATA, samples=DATA.samples[1:]), replace(CONFIG, epochs=1)))
    with pytest.raises(EffscopeError, match="can be read"):
        train(small_network(), DataSet("made", "train", CLASSES, (broken,)), CONFIG)


def test_learns_two_colours() -> None:
    recipe = Recipe(lr=5e-3, mosaic=0, warmup_epochs=2, scale=0.2)
    config = replace(CONFIG, epochs=25, batch=8, recipe=recipe)
    data, val = coloured_squares(48), coloured_squares(24, "val", seed=7)
    texts: list[str] = []
    found = train(small_network(), data, config, val_set=val, progress=lambda _, text: texts.append(text))
    last = found.history[-1]
    assert last["ap50"] > 0.5
    network = small_network()
    network.load_state_dict(found.state)
    scored = evaluate(deploy(network), val, EvalConfig(imgsz=64, device="cpu"))
    assert scored.ap == pytest.approx(last["ap"], abs=1e-6)
    assert texts[-1].startswith("epoch 25/25  box ")


def evaluation(ap: float) -> Evaluation:
    return Evaluation(ap, 0.0, 0.0, None, None, None, {}, 1, 1)


def test_evaluation_follows_eval_every(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "_scored", lambda run, *_: evaluation(float(run.epoch)))
    found = train(small_network(), DATA, replace(CONFIG, eval_every=2), val_set=DATA)
    assert [row.get("ap") for row in found.history] == [None, 2.0, 3.0]


def test_accumulation_steps_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    step = Learner.step

    def counted(self: Learner, now: Rates) -> bool:
        waiting.append(len(self.pending))
        return step(self, now)

    monkeypatch.setattr(Learner, "step", counted)
    recipe = replace(CONFIG.recipe, nominal_batch=8)
    train(small_network(), DATA, replace(CONFIG, epochs=1, recipe=recipe))
    assert waiting == [2, 1]  # a step always follows the last batch


def test_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(lr=1.0, final_lr_ratio=0.1)
    lrs = [rates(step, 100, 10, recipe).lr for step in range(100)]
    assert lrs[0] == pytest.approx(0.1)
    assert np.argmax(lrs) in (8, 9)
    assert lrs[-1] == pytest.approx(0.1)
    assert bool((np.diff(lrs[10:]) <= 0).all())
    line = [rates(step, 100, 0, replace(recipe, schedule="linear")).lr for step in range(100)]
    assert np.allclose(np.diff(line), -0.9 / 99)
    with pytest.raises(EffscopeError, match="cosine, linear"):
        rates(0, 1, 0, replace(recipe, schedule="step"))


def test_norms_and_biases_have_no_weight_decay_and_frozen_weights_do_not_change() -> None:
    network = small_network()
    groups = make_optimizer(network, Recipe()).param_groups
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim <= 1 for group in groups[1:] for p in group["params"])
    assert groups[1]["weight_decay"] == groups[2]["weight_decay"] == 0
    held = {id(p) for group in groups for p in group["params"]}
    assert {name for name, p in network.named_parameters() if id(p) not in held} == {"model.22.dfl.conv.weight"}
    with pytest.raises(EffscopeError, match="adamw, sgd"):
        make_optimizer(network, Recipe(optimizer="lion"))


def test_moving_average_by_hand() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = MovingAverage(layer, Recipe(ema_decay=0.5, ema_ramp_steps=1))
    torch.nn.init.constant_(layer.weight, 1.0)
    average.update()
    assert average.state["weight"].item() == pytest.approx(1 - 0.5 * (1 - np.exp(-1)))


def test_size_that_does_not_fit() -> None:
    with pytest.raises(EffscopeError, match="`imgsz` must be a multiple of 32, got 100"):
        replace(CONFIG, imgsz=100)
    with pytest.raises(EffscopeError, match="`imgsz` 96 is not a multiple of 64"):
        train(build(expand(layout("yolov8n-p6", 2))), DATA, replace(CONFIG, imgsz=96))
    with pytest.raises(EffscopeError, match="build it with nc=3"):
        train(small_network(), replace(DATA, classes=("a", "b", "c")), CONFIG)
