"""The state of a running training: how far it is, when it is saved, how it is restored."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effscope.config import TrainConfig
from effscope.detect.evaluate import Evaluation
from effscope.training.learner import Learner
from effscope.training.matching import Matching
from effscope.training.state_file import SavedState, load_state, no_state, peek, save_state

Row = dict[str, float]

COUNTERS = ("epoch", "step", "images", "train_seconds", "seconds", "history")

SAVE_SECONDS = 60.0
"""Least time between two states within an epoch, in s: a stop loses no more work than that."""

SAVE_SHARE = 0.02
"""Largest share of the time that is spent on states within an epoch: large networks are saved less often."""


@dataclass
class Done:
    """The part of the current epoch that is done.

    Attributes:
        batches: number of batches.
        sums: sums of box, cls and dfl over them, float32 (3,).
        lr: learning rate of the last one.
        seconds: time that they took.
    """

    batches: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(3))
    lr: float = 0.0
    seconds: float = 0.0


@dataclass
class Run:
    """A running training.

    Attributes:
        learner: what a training step changes.
        config: settings.
        trainable: names of the parameters that train.
        epoch, step, images: how many are done.
        train_seconds, seconds: time of the training steps, and of all epochs with evaluation.
        history: a row per epoch.
        evaluation: the last one.
        done: the part of the current epoch that is done.
    """

    learner: Learner
    config: TrainConfig
    trainable: frozenset[str]
    epoch: int = 0
    step: int = 0
    images: int = 0
    train_seconds: float = 0.0
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)
    evaluation: Evaluation | None = None
    done: Done = field(default_factory=Done)
    random: SavedState | None = None

    @property
    def leads(self) -> bool:
        """Whether this process scores and writes."""
        return self.learner.group.rank == 0


class Saver:
    """Writes the state of a training: after every epoch, and within a long epoch at most every `SAVE_SECONDS`.

    Several processes save after epochs alone: each of them has its own sums of the epoch.

    Args:
        file: the state file; None: nothing is saved.
        identity: digest of the data and the starting weights.
    """

    def __init__(self, file: Path | None, identity: str):
        self.file, self.identity = file, identity
        self.saved, self.took = time.monotonic(), 0.0

    def resume(self, run: Run) -> None:
        """Continue from the state file, if there is one.

        Raises:
            EffscopeError: the file holds no state, or that of another training.
        """
        if self.file is None or not self.file.exists():
            return
        saved = load_state(self.file, run.config, self.identity)
        try:
            _restore(run, saved)
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise no_state(self.file, type(error).__name__) from None

    def after_step(self, run: Run) -> None:
        """Save after an optimiser step, if the last time was long ago."""
        pause = max(SAVE_SECONDS, self.took / SAVE_SHARE)
        if run.learner.group.count == 1 and time.monotonic() - self.saved >= pause:
            self._save(run, {"within": _within(run)})

    def after_epoch(self, run: Run) -> None:
        """Save after an epoch."""
        self._save(run, {})

    def _save(self, run: Run, within: SavedState) -> None:
        if self.file is None or not run.leads:
            return
        began = time.monotonic()
        counters = {name: getattr(run, name) for name in COUNTERS}
        state = {**run.learner.snapshot(), "moved": counters, **within}
        save_state(self.file, state, run.config, self.identity)
        self.saved = time.monotonic()
        self.took = self.saved - began


def _within(run: Run) -> SavedState:
    """What an epoch needs to go on: its sums, and torch's generators for layers that draw random numbers."""
    device = run.learner.group.device
    return {
        **vars(run.done),
        "matched": asdict(run.learner.settled),
        "random": torch.random.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def _restore(run: Run, saved: SavedState) -> None:
    run.learner.restore(saved)
    for name in COUNTERS:
        setattr(run, name, saved["moved"][name])
    within: dict[str, Any] | None = saved.get("within")
    if within is None:
        return
    run.done = Done(within["batches"], within["sums"], within["lr"], within["seconds"])
    found = within["matched"]
    run.learner.matched = run.learner.settled = Matching(found["points"], found["gap"], tuple(found["within"]))
    run.random = within


def restore_random(run: Run) -> None:
    """Set torch's generators to their state in a resumed epoch."""
    if run.random is None:
        return
    torch.random.set_rng_state(run.random["random"])
    if run.random["random_cuda"] is not None and run.learner.group.device.type == "cuda":
        torch.cuda.set_rng_state(run.random["random_cuda"], run.learner.group.device)
    run.random = None


def epochs_done(file: Path) -> int:
    """Whole epochs in a state file; 0 if there is none."""
    return (peek(file) or (0, 0))[0]


def continued(file: Path, epochs: int) -> str:
    """Where a training goes on, for the user; empty if it starts.

    Args:
        file: its state file.
        epochs: epochs of the whole training.
    """
    found = peek(file)
    if found is None:
        return ""
    epoch, batches = found
    if epoch >= epochs:
        return f"continuing after the last of {epochs} epochs"
    return f"continuing at epoch {epoch + 1} of {epochs}" + (f", after {batches} of its batches" if batches else "")
