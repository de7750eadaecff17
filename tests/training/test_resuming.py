"""A training that is stopped within an epoch ends like an undisturbed one, to the bit, and says where it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from support.small_detector import coloured_squares
from support.tiny_search import LAYOUT
from torch import Tensor, nn

from effscope import api
from effscope.config import TrainConfig
from effscope.detect.bank import load_bank
from effscope.layouts.expand import expand
from effscope.layouts.ultralytics_yaml.layout_yaml import from_yaml
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import Network, build, digest
from effscope.recipes import Recipe
from effscope.training import run as run_module
from effscope.training import running
from effscope.training.batches import batches
from effscope.training.running import continued, epochs_done
from effscope.training.state_file import peek
from effscope.training.train import Trained, train

DATA = coloured_squares(10)
RECIPE = Recipe(close_mosaic_epochs=1, nominal_batch=2)
CONFIG = TrainConfig(data="made", imgsz=64, epochs=2, batch=2, device="cpu", recipe=RECIPE)
ACCUMULATES = replace(CONFIG, recipe=replace(RECIPE, nominal_batch=6))
"""A step every three batches, and one after the fifth, the last of an epoch."""


def tiny() -> Network:
    """A detector of three stages."""
    return build(expand(from_yaml(LAYOUT)))


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stopped(network: Network, config: TrainConfig, file: Path, batches_done: int) -> None:
    """Train until so many batches are done and, if it is time, saved."""
    left = iter(range(batches_done - 1))

    def progress(fraction: float, text: str) -> None:
        if text.startswith("epoch") and next(left, None) is None:
            raise Stopped

    with pytest.raises(Stopped):
        train(network, DATA, config, progress=progress, state_file=file)


def same(a: Trained, b: Trained) -> bool:
    """Equal weights, and equal rows but for the seconds."""
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in one.history] for one in (a, b)]
    return all(torch.equal(a.state[key], b.state[key]) for key in a.state) and rows[0] == rows[1]


@pytest.fixture(scope="module")
def whole() -> dict[TrainConfig, Trained]:
    """Undisturbed trainings."""
    return {config: train(tiny(), DATA, config) for config in (CONFIG, ACCUMULATES)}


@pytest.mark.parametrize(
    ("config", "after", "saved"), [(CONFIG, 3, (0, 3)), (CONFIG, 7, (1, 2)), (ACCUMULATES, 4, (0, 3))]
)
def test_stopped_within_an_epoch(
    config: TrainConfig,
    after: int,
    saved: tuple[int, int],
    whole: dict[TrainConfig, Trained],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Saved at the last optimiser step; of the batches behind it the work is lost, the result is not."""
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(running, "SAVE_SHARE", 1e9)
    file = tmp_path / "state"
    stopped(tiny(), config, file, after)
    assert peek(file) == saved
    assert same(train(tiny(), DATA, config, state_file=file), whole[config])


def test_dual_heads_and_dropout_go_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over an epoch (gap, top1) count the batches before the stop, and layers draw the same random numbers."""
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(running, "SAVE_SHARE", 1e9)

    def network() -> Network:
        made = build(expand(layout("yolov10n", 2)))
        act = made.get_submodule("model.0.act")
        assert isinstance(act, nn.SiLU)
        act.forward = lambda x: nn.functional.dropout(nn.functional.silu(x), 0.1)  # type: ignore[method-assign]
        return made

    config, file = replace(CONFIG, epochs=1), tmp_path / "state"
    undisturbed = train(network(), DATA, config)
    assert undisturbed.history[0].keys() >= {"gap", "top1"}
    stopped(network(), config, file, 4)
    assert peek(file) == (0, 4)
    assert same(train(network(), DATA, config, state_file=file), undisturbed)


def test_states_within_an_epoch_are_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most every `SAVE_SECONDS`, and never more than `SAVE_SHARE` of the time."""
    now, written = 0.0, list[float]()

    def save(*_: object) -> None:
        nonlocal now
        written.append(now)
        now += 3.0  # a large network: 3 s a state, so a pause of 150 s

    monkeypatch.setattr(running.time, "monotonic", lambda: now)
    monkeypatch.setattr(running, "save_state", save)
    run = running.Run(running_learner(), CONFIG, frozenset())
    saver = running.Saver(tmp_path / "state", "")
    for _ in range(600):
        now += 1.0
        saver.after_step(run)
    pauses = [b - a - 3.0 for a, b in pairwise(written)]
    assert written[0] == running.SAVE_SECONDS
    assert pauses and all(pause == pytest.approx(3.0 / running.SAVE_SHARE, abs=1.0) for pause in pauses)


def running_learner() -> running.Learner:
    from effscope.training.learner import make_learner
    from effscope.training.processes import processes

    return make_learner(tiny(), CONFIG, processes("cpu"))


def test_skipped_batches_change_no_later_one() -> None:
    bank = load_bank(DATA, 64)

    def made(skip: int) -> list[Tensor]:
        found = list(batches(bank, 4, Recipe(), torch.Generator().manual_seed(3), skip=skip))
        return [tensor for batch in found for tensor in (batch.images, batch.matrices, batch.truth.boxes)]  # type: ignore[misc]

    every = made(0)
    for skip in range(5):
        rest = every[3 * skip :]
        found = made(skip)
        assert len(found) == len(rest) and all(torch.equal(a, b) for a, b in zip(found, rest, strict=True))


def test_a_state_of_the_previous_format_still_goes_on(whole: dict[TrainConfig, Trained], tmp_path: Path) -> None:
    file = tmp_path / "state"
    stopped(tiny(), CONFIG, file, 6)
    saved = torch.load(file, weights_only=True)
    assert saved["format"] == 2 and "within" not in saved
    torch.save({**saved, "format": 1}, file)
    assert same(train(tiny(), DATA, CONFIG, state_file=file), whole[CONFIG])


def test_where_a_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state"
    assert continued(file, 2) == "" and epochs_done(file) == 0
    stopped(tiny(), CONFIG, file, 6)
    assert continued(file, 2) == "continuing at epoch 2 of 2"
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(running, "SAVE_SHARE", 1e9)
    stopped(tiny(), CONFIG, file, 3)
    assert continued(file, 2) == "continuing at epoch 2 of 2, after 3 of its batches"
    train(tiny(), DATA, CONFIG, state_file=file)
    assert continued(file, 2) == "continuing after the last of 2 epochs" and epochs_done(file) == 2
    file.write_bytes(b"damaged")
    assert continued(file, 2) == "" and digest(tiny().state_dict())


def test_the_first_lines_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan then counts what is left, and names the data."""
    monkeypatch.setattr(run_module, "training_images_per_s", lambda *_: 8.0)
    monkeypatch.setattr(run_module, "pick_threads", lambda *_: 1)
    said: list[str] = []
    calls = iter(range(1000))

    def progress(_: float, text: str) -> None:
        if "epoch 2/3" in text and next(calls) == 0:
            raise Stopped

    settings = {"data": "builtin:shapes", "limit_train": 8, "limit_val": 2, "imgsz": 64, "epochs": 3, "device": "cpu"}
    (tmp_path / "tiny.yaml").write_text(LAYOUT)
    model = str(tmp_path / "tiny.yaml")
    with pytest.raises(Stopped):
        api.train(model, out=tmp_path / "run", progress=progress, say=said.append, **settings)  # type: ignore[arg-type]
    plan = next(line for line in said if line.startswith("plan: "))
    assert "on 8 images of builtin:shapes (drawn by effscope: no data of yours) at 64 px" in plan
    assert "about 3 s on this machine" in plan and not any("continuing" in line for line in said)
    said.clear()
    api.train(model, out=tmp_path / "run", progress=None, say=said.append, **settings)  # type: ignore[arg-type]
    assert "continuing at epoch 2 of 3" in said[:2]
    assert "about 2 s for the remaining 2 epochs on this machine" in next(
        line for line in said if line.startswith("plan: ")
    )
