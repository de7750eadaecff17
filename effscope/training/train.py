"""Train a detector: seeded, resumable, on one or several devices. The given network does not change."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from effscope.config import EvalConfig, TrainConfig
from effscope.data.sample import DataSet
from effscope.detect.bank import Bank, limited, limited_bank, load_bank
from effscope.detect.boxes import BINS
from effscope.detect.evaluate import Evaluation, evaluate
from effscope.errors import EffscopeError, counted
from effscope.nn.build import Network, digest
from effscope.nn.fuse import deploy
from effscope.nn.random_state import own_random_state
from effscope.progress import Progress, Say, unsaid
from effscope.training.batches import Batch, batches, prefetched
from effscope.training.freezing import check_freeze, freeze, frozen_layers, trainable_names
from effscope.training.learner import make_learner
from effscope.training.optimise import StateDict, rates
from effscope.training.peak_memory import peak_memory_mb
from effscope.training.processes import Processes, processes
from effscope.training.running import Done, Row, Run, Saver, restore_random


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        state: averaged weights, every key of the network's state dict, on the CPU, floats as float32.
        history: one row per epoch: epoch (from 1); box, cls, dfl (means over batches); lr (of the last step); seconds;
            ap, ap50 (fractions) of an evaluated epoch; gap, top1, top5, top10 of a dual head (see `matching`); frozen
            (number of layers) if layers are frozen.
        images_per_s: training speed, without evaluation and reading.
        peak_memory_mb: peak memory of the process on a CPU, of the allocator on CUDA.
        seconds: wall time of all epochs with evaluation, without reading.
        evaluation: evaluation of the last evaluated epoch, or None.
        notes: notes for the user, e.g. that memory ran out.
    """

    state: StateDict
    history: tuple[Row, ...]
    images_per_s: float
    peak_memory_mb: float
    seconds: float
    evaluation: Evaluation | None = None
    notes: tuple[str, ...] = ()


def train(
    model: Network,
    train_set: DataSet | Bank,
    config: TrainConfig,
    *,
    val_set: DataSet | Bank | None = None,
    teacher: Network | None = None,
    progress: Progress | None = None,
    say: Say = unsaid,
    state_file: Path | None = None,
    on_epoch: Callable[[Row], object] | None = None,
) -> Trained:
    """Train a detector.

    The same model, data, configuration and processor give the same weights, resumed or not. The global random state
    does not change. Several processes share every batch and compute the same weights as a single process.

    Args:
        model: starting weights; not changed.
        train_set: training images; a bank is already decoded.
        config: size, length, seed, recipe, limits.
        teacher: a detector of the same classes whose answers are learned too, with the recipe's `distil_gain`.
        val_set: scored with the averaged weights after the last epoch and every `eval_every` epochs.
        progress: called with the fraction done and e.g. "epoch 3/60  box 1.23 cls 0.98 dfl 1.10".
        say: called with messages for the user.
        state_file: stores the full state after every epoch, and about every minute within a long one. If it exists,
            the training resumes from it.
        on_epoch: called with the row of every epoch.

    Raises:
        EffscopeError: size or classes do not fit the network, no image can be read, the loss is not finite, memory
            runs out with one image, or the state file belongs to another training.
    """
    dataset = train_set.dataset if isinstance(train_set, Bank) else train_set
    _check_fit(model, dataset, config)
    check_freeze(model, config)
    if config.recipe.distil_gain and teacher is None:
        raise EffscopeError("recipe: distil_gain needs a teacher; only the short trainings of a search have one")
    taught = teacher if config.recipe.distil_gain else None
    identity = "+".join(
        [dataset.digest, digest(model.state_dict()), *([digest(taught.state_dict())] if taught is not None else [])]
    )
    group = processes(config.device)
    run = _start(model, config, group, taught)
    reading = (lambda _, text: progress(0.0, text)) if progress else None
    bank = _bank(train_set, config.limit_train, config.imgsz, reading)
    val_bank = None if val_set is None else _bank(val_set, config.limit_val, config.imgsz, None)
    saver = Saver(state_file, identity)
    saver.resume(run)
    while run.epoch < config.epochs:
        row = _epoch(run, model, bank, val_bank, progress, say, saver)
        if on_epoch:
            on_epoch(row)
        saver.after_epoch(run)
    group.wait()
    return _finish(run)


def _bank(given: DataSet | Bank, limit: int | None, imgsz: int, progress: Progress | None) -> Bank:
    if not isinstance(given, Bank):
        return load_bank(limited(given, limit), imgsz, progress)
    if given.imgsz != imgsz:
        raise ValueError(f"the bank has images of {given.imgsz} px, the training needs {imgsz} px")
    return limited_bank(given, limit)


def _check_fit(model: Network, data: DataSet, config: TrainConfig) -> None:
    classes, coarsest = model.nc, max(model.spec.info["strides"])
    if model.spec.info["reg_max"] != BINS:
        raise EffscopeError(
            "effscope cannot train this head: it trains heads that predict box sides as a distribution over "
            f"{BINS} bins (YOLOv8 and later); this model can be counted, ranked, evaluated and exported"
        )
    if config.imgsz == coarsest:
        raise EffscopeError(f"`imgsz` {coarsest} leaves one cell at stride {coarsest}: give at least {2 * coarsest}")
    if config.imgsz % coarsest:
        raise EffscopeError(f"`imgsz` {config.imgsz} is not a multiple of {coarsest}, the network's largest stride")
    if classes < len(data.classes):
        raise EffscopeError(
            f"the network has {counted(classes, 'class', 'classes')}, '{data.source}' has {len(data.classes)}: "
            f"build it with nc={len(data.classes)}"
        )


def _start(model: Network, config: TrainConfig, group: Processes, teacher: Network | None) -> Run:
    learner = make_learner(model, config, group, teacher)
    if group.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(group.device)
    return Run(learner, config, trainable_names(learner.network))


def _epoch(
    run: Run, model: Network, bank: Bank, val_bank: Bank | None, progress: Progress | None, say: Say, saver: Saver
) -> Row:
    """One epoch: training, then an evaluation if it is due. Returns its row, which is also in the history."""
    began = time.perf_counter() - run.done.seconds
    with own_random_state(_epoch_seed(run.config.seed, run.epoch), run.learner.group.device):
        restore_random(run)
        row = _train_epoch(run, bank, progress, say, saver)
    run.epoch, run.done = run.epoch + 1, Done()
    if not run.learner.is_finite():
        smaller = f"try a smaller learning rate than {run.config.recipe.lr}"
        raise EffscopeError(f"the weights are not finite after epoch {run.epoch}: {smaller}")
    if val_bank is not None and run.leads and _is_due(run):
        run.evaluation = _scored(run, model, val_bank)
        row |= {"ap": run.evaluation.ap, "ap50": run.evaluation.ap50}
    run.seconds += time.perf_counter() - began
    run.history.append(row)
    return row


def _train_epoch(run: Run, bank: Bank, progress: Progress | None, say: Say, saver: Saver) -> Row:
    """One pass over the training images, or the rest of it; returns its row without scores."""
    config, recipe, learner, done = run.config, run.config.recipe, run.learner, run.done
    per_epoch = -(-len(bank.images) // config.batch)
    frozen = frozen_layers(run.epoch, config)
    freeze(learner.network, frozen, run.trainable, recipe.norms == "fixed")
    if not done.batches:
        learner.start_epoch()
    every = max(round(recipe.nominal_batch / config.batch), 1)
    noted, began = len(learner.notes), time.perf_counter() - done.seconds
    for n, batch in enumerate(_batches(run, bank), done.batches + 1):
        now = rates(run.step, per_epoch * config.epochs, recipe.warmup_epochs * per_epoch, recipe)
        terms = learner.learn(batch)
        for note in learner.notes[noted:]:
            say(note)
        noted = len(learner.notes)
        if not bool(terms.isfinite().all()):
            raise EffscopeError(_not_finite(run, n, batch, bank, terms.tolist(), "loss is"))
        steps = n % every == 0 or n == per_epoch
        if steps and not learner.step(now):
            raise EffscopeError(_not_finite(run, n, batch, bank, terms.tolist(), "gradients are"))
        run.step += 1
        run.images += len(batch.indices)
        run.done = done = Done(n, done.sums + terms, now.lr, time.perf_counter() - began)
        if steps and n < per_epoch:
            saver.after_step(run)
        if progress:
            box, cls, dfl = (done.sums / n).tolist()
            text = f"epoch {run.epoch + 1}/{config.epochs}  box {box:.2f} cls {cls:.2f} dfl {dfl:.2f}"
            progress((run.epoch + n / per_epoch) / config.epochs, text)
    run.train_seconds += done.seconds
    box, cls, dfl = (done.sums / per_epoch).tolist()
    row = {"epoch": run.epoch + 1.0, "box": box, "cls": cls, "dfl": dfl, "lr": done.lr, "seconds": done.seconds}
    return row | learner.epoch_matches() | ({"frozen": float(frozen)} if config.freeze else {})


def _batches(run: Run, bank: Bank) -> Iterator[Batch]:
    """The batches of an epoch that are left. A thread prepares them while a GPU trains."""
    config, group = run.config, run.learner.group
    recipe = config.recipe
    if run.epoch >= config.epochs - recipe.close_mosaic_epochs:
        recipe = replace(recipe, mosaic=0.0)
    generator = torch.Generator().manual_seed(_epoch_seed(config.seed, run.epoch))
    made = batches(bank, config.batch, recipe, generator, group.share, run.done.batches)
    return made if group.device.type == "cpu" else prefetched(made)


def _not_finite(run: Run, n: int, batch: Batch, bank: Bank, terms: list[float], what: str) -> str:
    box, cls, dfl = terms
    names = ", ".join(bank.dataset.samples[k].name for k in batch.indices)
    return (
        f"the {what} not finite in epoch {run.epoch + 1}, batch {n} (images {names}; mosaics add others): "
        f"box {box}, cls {cls}, dfl {dfl}; try a smaller learning rate than {run.config.recipe.lr}"
    )


def _is_due(run: Run) -> bool:
    every = run.config.eval_every
    return run.epoch == run.config.epochs or (every > 0 and run.epoch % every == 0)


def _scored(run: Run, model: Network, val_bank: Bank) -> Evaluation:
    """Score of the averaged weights, with branches and norms merged."""
    averaged = copy.deepcopy(model).to(run.learner.group.device)
    averaged.load_state_dict(run.learner.average.state)
    config = EvalConfig(imgsz=run.config.imgsz, batch=run.config.batch, device=str(run.learner.group.device))
    return evaluate(deploy(averaged), val_bank, config)


def _epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch, so that a resumed training draws the same random numbers as an uninterrupted one."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}".encode()).digest()[:7], "big")


def _finish(run: Run) -> Trained:
    state = {
        key: value.detach().cpu().float().contiguous() if value.is_floating_point() else value.cpu()
        for key, value in run.learner.average.state.items()
    }
    speed = run.images / run.train_seconds if run.train_seconds else 0.0
    memory = peak_memory_mb(run.learner.group.device)
    return Trained(state, tuple(run.history), speed, memory, run.seconds, run.evaluation, tuple(run.learner.notes))
