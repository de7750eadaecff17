"""Run the jobs of a search with torch: fit, train, score, rank, time. Every job writes its artefacts and a record."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effscope.checkpoint.read import read_checkpoint
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig, RankConfig, TrainConfig
from effscope.costing.model import cost
from effscope.detect.evaluate import evaluate
from effscope.detect.resampling import Matches, match
from effscope.files import write_bytes
from effscope.layouts.expand import expand, stages
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy
from effscope.nn.inherit import inherit
from effscope.progress import Parts, Progress, Say
from effscope.ranking.analyze import rank
from effscope.recipes import Recipe
from effscope.searching.changes import layout_of
from effscope.searching.context import Context
from effscope.searching.fitting import fit_head, fit_stage
from effscope.searching.jobs import Job, Measurement
from effscope.searching.plan import Plan
from effscope.spec.layout import Layout
from effscope.timing.measure import forward_ms
from effscope.training.train import train
from effscope.workspace import Workspace

CLASS_TOWER = ".cv3."
"""Part of the state-dict keys of a head's class towers. For other classes they are initialised randomly."""

WEIGHTS, TRAINING, RANKS, MATCHES = ".safetensors", ".training", ".rank.json", ".matches.npz"
"""Suffixes of artefacts: weights, state of an unfinished training, ranks, matches of detections to boxes."""


@dataclass
class _Work:
    """A running job: its inputs, where it writes, and its notes and files so far."""

    job: Job
    context: Context
    workspace: Workspace
    parts: Parts
    plan: Plan
    say: Say
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def file(self, suffix: str) -> Path:
        """Path of an artefact that this job must write."""
        path = self.workspace.artefact(self.job.id, suffix)
        self.files.append(path)
        return path

    def state_of(self, job: str) -> Mapping[str, Tensor]:
        """The weights that another job wrote."""
        return read_checkpoint(self.workspace.artefact(job, WEIGHTS)).state


def execute(job: Job, context: Context, workspace: Workspace, progress: Progress, say: Say) -> Measurement:
    """Run a job and store its artefacts and record in the workspace.

    Args:
        job: a job; the jobs that it needs have finished.
        context: inputs of the search.
        workspace: folder of the run.
        progress: called with the fraction of the job that is done, and a text.
        say: called with messages for the user.

    Raises:
        EffscopeError: a training fails, memory or disk space runs out.
    """
    began, plan = time.monotonic(), Plan.of(context)
    work = _Work(job, context, workspace, Parts(progress, plan.weight(job.kind)), plan, say)
    with _threads(context.threads):
        found = _KINDS[job.kind](work)
    measurement = replace(found, notes=tuple(work.notes), seconds=round(time.monotonic() - began, 1))
    workspace.keep(job.id, measurement.to_dict(), tuple(work.files))
    workspace.artefact(job.id, TRAINING).unlink(missing_ok=True)
    return measurement


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _base(work: _Work) -> Measurement:
    """Train or load the base, and score it."""
    context = work.context
    network, given = build(expand(context.layout), work.job.seed), context.given
    fits = False
    if given.state is not None:
        fits = given.classes in (None, context.classes) and given.layout.nc == context.layout.nc
        kept = {key: t for key, t in given.state.items() if fits or CLASS_TOWER not in key}
        transfer = inherit(network, context.layout, given.layout, kept)
        work.notes.append(f"start: {given.source}; {transfer.summary()}")
        if fits and (transfer.fresh or transfer.reshaped):
            progress = work.parts.part(work.plan.fitting, "base: fitting the head")
            error = fit_head(network, transfer, context, work.job.seed, progress)
            before = _scored(work, given.network(), "base: scoring it as given").ap
            work.notes.append(
                f"the base is the given model (AP {before:.3f}, {cost(given.layout).params:,} parameters) with the "
                f"light class head, fitted to its own head with normalised error {error:.3f}; all figures compare to "
                "that base"
            )
        if not fits:
            work.notes.append(
                f"the weights have {given.layout.nc} other classes: the class tower is initialised randomly and the "
                f"base is trained for {context.base_epochs} epochs"
            )
    if not fits:
        network = _trained(work, network, context.base_epochs, context.config.recipe, "base: training")
    _store(work, context.layout, network)
    return _measured(work, _scored(work, network, "base: scoring"))


def _rank(work: _Work) -> Measurement:
    """Rank the base's stages."""
    context, config = work.context, work.context.config
    network = _network(work, work.job.needs[0], context.layout)
    source = f"base trained for {context.splits[0].source}"
    ranks = rank(network, context.layout, RankConfig(at=config.at, threshold=config.threshold), source=source)
    ranks.save(work.file(RANKS))
    return Measurement(work.job.id, work.job.kind, order=ranks.order)


def _fit(work: _Work) -> Measurement:
    """Fit one changed stage to the stage it replaces; the artefact has only that layer."""
    context, (change,) = work.context, work.job.changes
    base = _network(work, work.job.needs[0], context.layout)
    layout = layout_of(context.layout, (change,))
    network = build(expand(layout), work.job.seed)
    inherit(network, layout, context.layout, base.state_dict())
    progress, position = (
        work.parts.part(work.plan.fitting, f"{work.job.title}: fitting"),
        _position(layout, change.stage),
    )
    error = fit_stage(network, base, position, context, work.job.seed, progress)
    write_safetensors(work.file(WEIGHTS), network.model[str(position)].state_dict(), {})
    return Measurement(work.job.id, work.job.kind, error=error)


def _start(work: _Work) -> Measurement:
    """AP of a variant before any labelled training."""
    return _measured(work, _scored(work, _assembled(work), f"{work.job.title}: AP at once"))


def _run(work: _Work) -> Measurement:
    """Short training of a variant, then its AP."""
    config, title = work.context.config, work.job.title
    network = _trained(work, _assembled(work), config.epochs, config.proxy_recipe, f"{title}: short training")
    _store(work, layout_of(work.context.layout, work.job.changes), network)
    return _measured(work, _scored(work, network, f"{title}: scoring"))


def _time(work: _Work) -> Measurement:
    """Time the models of other jobs, in turn."""
    work.parts.part(1.0, "measuring latency")
    opened = {job: open_model(str(work.workspace.artefact(job, WEIGHTS))) for job in work.job.needs}
    networks = {job: model.network() for job, model in opened.items()}
    ms = forward_ms(networks, work.context.config.imgsz, work.context.device)
    return Measurement(work.job.id, work.job.kind, ms=ms)


_KINDS: dict[str, Callable[[_Work], Measurement]] = {
    "base": _base, "rank": _rank, "fit": _fit, "start": _start, "run": _run, "time": _time,
}  # fmt: skip
"""Kind of job -> function that runs it."""


def _position(layout: Layout, stage: int) -> int:
    return next(found.index for found in stages(layout) if found.number == stage)


def _network(work: _Work, job: str, layout: Layout) -> Network:
    network = build(expand(layout))
    network.load_state_dict(work.state_of(job))
    return network


def _assembled(work: _Work) -> Network:
    """The variant before training: the base's tensors, and the fitted layer of each changed stage."""
    base, *fits = work.job.needs
    layout = layout_of(work.context.layout, work.job.changes)
    network = build(expand(layout), work.context.config.seed)
    inherit(network, layout, work.context.layout, work.state_of(base))
    for change, fit in zip(work.job.changes, fits, strict=True):
        network.model[str(_position(layout, change.stage))].load_state_dict(work.state_of(fit))
    return network


def _trained(work: _Work, network: Network, epochs: int, recipe: Recipe, title: str) -> Network:
    c = work.context.config
    config = TrainConfig(
        data=c.data, imgsz=c.imgsz, epochs=epochs, batch=c.batch, seed=work.job.seed, device=work.context.device,
        recipe=recipe,
    )  # fmt: skip
    progress = work.parts.part(work.plan.training(epochs), title)
    state_file = work.workspace.artefact(work.job.id, TRAINING)
    done = train(network, work.context.banks.train, config, progress=progress, say=work.say, state_file=state_file)
    work.notes += done.notes
    network.load_state_dict(done.state)
    return network


@dataclass(frozen=True)
class _Score:
    ap: float
    matches: Matches


def _scored(work: _Work, network: Network, title: str) -> _Score:
    """AP of a network, and the matches of its detections."""
    c, bank = work.context.config, work.context.banks.val
    config = EvalConfig(imgsz=c.imgsz, batch=c.batch, device=work.context.device)
    found = evaluate(deploy(network), bank, config, work.parts.part(work.plan.scoring, title))
    return _Score(found.ap, match(bank.dataset.samples, found.detections, len(bank.dataset.classes)))


def _measured(work: _Work, score: _Score) -> Measurement:
    data = io.BytesIO()
    np.savez_compressed(data, **vars(score.matches))
    write_bytes(work.file(MATCHES), data.getvalue())
    return Measurement(work.job.id, work.job.kind, ap=score.ap)


def _store(work: _Work, layout: Layout, network: Network) -> None:
    facts = metadata(layout, work.context.classes, work.context.config.imgsz)
    write_safetensors(work.file(WEIGHTS), network.state_dict(), facts)
