"""Training a detector on one device: short, seeded, resumable. The network handed in is left as it was."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from effscope.config import EvalConfig, TrainConfig
from effscope.data.sample import DataSet
from effscope.detect.batches import Bank, Batch, batches, limited, load_bank
from effscope.detect.boxes import BINS
from effscope.detect.evaluate import evaluate
from effscope.detect.losses import ONE_TO_MANY, ONE_TO_ONE, Losses, detector_loss
from effscope.detect.optimise import (
    MovingAverage,
    State,
    clip_gradients,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from effscope.detect.resume import Saved, load_state, peak_memory_mb, save_state
from effscope.errors import EffscopeError
from effscope.nn.build import Network, digest, view
from effscope.nn.fuse import deploy
from effscope.nn.precision import amp, pick_device
from effscope.progress import Progress

Row = dict[str, float]

_COUNTERS = ("epoch", "step", "images", "train_seconds", "seconds", "history")


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        state: averaged weights, every key of the network's state dict, on the CPU, floats as float32.
        history: a row per epoch: epoch (from 1), box, cls, dfl (means over batches), lr (last), seconds, and ap, ap50
            (fractions) where the epoch was evaluated.
        images_per_s: training speed, evaluation and reading left out.
        peak_memory_mb: of the process on a CPU, of the allocator on CUDA.
        seconds: wall time of all epochs, evaluation included, reading left out.
        left_out: training pictures that could not be decoded.
    """

    state: State
    history: tuple[Row, ...]
    images_per_s: float
    peak_memory_mb: float
    seconds: float
    left_out: tuple[str, ...] = ()


@dataclass
class _Run:
    """Everything that moves during a training."""

    network: Network
    raw: Network  # shares the network's weights, computes only what the losses need
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    device: torch.device
    config: TrainConfig
    epoch: int = 0
    step: int = 0
    images: int = 0
    train_seconds: float = 0.0
    seconds: float = 0.0
    history: list[Row] = field(default_factory=list)


def train(
    model: Network,
    train_set: DataSet,
    config: TrainConfig,
    *,
    val_set: DataSet | None = None,
    progress: Progress | None = None,
    state_file: Path | None = None,
) -> Trained:
    """Train a detector.

    The same model, data, configuration and processor give the same weights, resumed or not; no global random state
    changes.

    Args:
        model: starting weights; not changed.
        train_set: what to learn.
        config: size, length, seed, recipe, limits.
        val_set: scored with the averaged weights after the last epoch and every `eval_every` epochs.
        progress: told the fraction done and e.g. "epoch 3/60  box 1.23 cls 0.98 dfl 1.10".
        state_file: where the full state is kept after every epoch; if it exists, the training goes on from it.

    Raises:
        EffscopeError: size or classes do not fit the network, no picture can be read, the loss is not finite, or the
            state file is of another training.
    """
    _check_fit(model, train_set, config)
    identity = f"{train_set.digest}+{digest(model.state_dict())}"
    run = _start(model, config)
    reading = (lambda _, text: progress(0.0, text)) if progress else None
    bank = load_bank(limited(train_set, config.limit_train), config.imgsz, reading)
    if state_file is not None and state_file.exists():
        _restore(run, load_state(state_file, config, identity))
    while run.epoch < config.epochs:
        began = time.perf_counter()
        with _own_random_state(_epoch_seed(config.seed, run.epoch), run.device):
            row = _train_epoch(run, bank, progress)
        run.epoch += 1
        if val_set is not None and _is_due(run):
            row |= _scores(run, limited(val_set, config.limit_val))
        run.seconds += time.perf_counter() - began
        run.history.append(row)
        if state_file is not None:
            save_state(state_file, _snapshot(run), config, identity)
    return _finish(run, bank.left_out)


def _check_fit(model: Network, data: DataSet, config: TrainConfig) -> None:
    classes = model.nc
    if model.spec.info["reg_max"] != BINS:
        raise EffscopeError(
            "this head cannot be trained here: effscope trains heads that read box sides from a distribution over "
            f"{BINS} bins (YOLOv8 and its kin); it can be counted, ranked, evaluated and exported"
        )
    coarsest = max(model.spec.info["strides"])
    if config.imgsz % coarsest:
        raise EffscopeError(f"imgsz {config.imgsz} is no multiple of {coarsest}, the network's coarsest stride")
    if classes < len(data.classes):
        raise EffscopeError(
            f"the network knows {classes} classes, '{data.source}' has {len(data.classes)}: "
            f"build it with nc={len(data.classes)}"
        )


def _start(model: Network, config: TrainConfig) -> _Run:
    device = pick_device(config.device)
    network = copy.deepcopy(model).to(device).train()
    network.to(memory_format=torch.channels_last)
    heads = [name for name in (ONE_TO_MANY, ONE_TO_ONE) if name in network.spec.views]
    optimizer = make_optimizer(network, config.recipe)
    average = MovingAverage(network, config.recipe)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    return _Run(network, view(network, *heads), optimizer, average, device, config)


def _train_epoch(run: _Run, bank: Bank, progress: Progress | None) -> Row:
    """One pass over the data."""
    config, recipe = run.config, run.config.recipe
    per_epoch = -(-len(bank.pictures) // config.batch)
    if run.epoch >= config.epochs - recipe.close_mosaic_epochs:
        recipe = replace(recipe, mosaic=0.0)
    every = max(round(recipe.nominal_batch / config.batch), 1)
    generator = torch.Generator().manual_seed(_epoch_seed(config.seed, run.epoch))
    sums, lr, began = torch.zeros(3), 0.0, time.perf_counter()
    for n, batch in enumerate(batches(bank, config.batch, recipe, generator, run.device)):
        lr = learning_rate(run.step, per_epoch * config.epochs, recipe.warmup_epochs * per_epoch, recipe)
        set_learning_rate(run.optimizer, lr)
        terms = _backward(run, batch)
        if not bool(terms.isfinite().all()):
            raise EffscopeError(_not_finite(run, n, batch, terms))
        if (n + 1) % every == 0 or n + 1 == per_epoch:
            _optimizer_step(run)
        sums += terms
        run.step += 1
        run.images += len(batch.indices)
        if progress:
            box, cls, dfl = (sums / (n + 1)).tolist()
            text = f"epoch {run.epoch + 1}/{config.epochs}  box {box:.2f} cls {cls:.2f} dfl {dfl:.2f}"
            progress((run.epoch + (n + 1) / per_epoch) / config.epochs, text)
    seconds = time.perf_counter() - began
    run.train_seconds += seconds
    box, cls, dfl = (sums / per_epoch).tolist()
    return {"epoch": run.epoch + 1.0, "box": box, "cls": cls, "dfl": dfl, "lr": lr, "seconds": seconds}


def _backward(run: _Run, batch: Batch) -> Tensor:
    """Add a batch's gradients; returns box, cls, dfl losses, float32 (3,) on the CPU."""
    with amp(run.device):
        views = run.raw(batch.images)
    height, width = batch.images.shape[2:]
    losses: Losses = detector_loss(views, batch.truth, (height, width), run.config.recipe)
    (losses.total * len(batch.indices)).backward()  # type: ignore[no-untyped-call]
    return torch.stack((losses.box, losses.cls, losses.dfl)).detach().cpu()


def _optimizer_step(run: _Run) -> None:
    clip_gradients(run.network.parameters(), run.config.recipe.grad_clip)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.average.update(run.network)


def _not_finite(run: _Run, n: int, batch: Batch, terms: Tensor) -> str:
    box, cls, dfl = terms.tolist()
    return (
        f"the loss is not finite in epoch {run.epoch + 1}, batch {n + 1} (pictures {list(batch.indices)}): "
        f"box {box}, cls {cls}, dfl {dfl}; try a smaller learning rate than {run.config.recipe.lr}"
    )


def _is_due(run: _Run) -> bool:
    every = run.config.eval_every
    return run.epoch == run.config.epochs or (every > 0 and run.epoch % every == 0)


def _averaged(run: _Run) -> Network:
    """A copy of the network with the averaged weights."""
    network = copy.deepcopy(run.network)
    network.load_state_dict(run.average.state)
    return network


def _scores(run: _Run, val_set: DataSet) -> Row:
    config = EvalConfig(imgsz=run.config.imgsz, batch=run.config.batch, device=run.config.device)
    found = evaluate(deploy(_averaged(run)), val_set, config)
    return {"ap": found.ap, "ap50": found.ap50}


def _epoch_seed(seed: int, epoch: int) -> int:
    """A seed of its own for every epoch, so that a resumed training draws what the whole one would have drawn."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:7], "big")


@contextmanager
def _own_random_state(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, for layers that draw (dropout), and put them back."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def _snapshot(run: _Run) -> Saved:
    return {
        "network": run.network.state_dict(),
        "average": run.average.state,
        "average_steps": run.average.steps,
        "optimizer": run.optimizer.state_dict(),
        "moved": {name: getattr(run, name) for name in _COUNTERS},
    }


def _restore(run: _Run, saved: Saved) -> None:
    run.network.load_state_dict(saved["network"])
    run.optimizer.load_state_dict(saved["optimizer"])
    run.average.state = {key: value.to(run.device) for key, value in saved["average"].items()}
    run.average.steps = saved["average_steps"]
    for name in _COUNTERS:
        setattr(run, name, saved["moved"][name])


def _finish(run: _Run, left_out: tuple[str, ...]) -> Trained:
    state = {
        key: value.detach().cpu().float().contiguous() if value.is_floating_point() else value.cpu()
        for key, value in run.average.state.items()
    }
    speed = run.images / run.train_seconds if run.train_seconds else 0.0
    return Trained(state, tuple(run.history), speed, peak_memory_mb(run.device), run.seconds, left_out)
