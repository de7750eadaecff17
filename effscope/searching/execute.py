"""Run the jobs of a search with torch: fit, train, score, rank, time. Every job writes its artefacts and a record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from effscope.checkpoint.write import write_safetensors
from effscope.config import RankConfig
from effscope.layouts.expand import expand
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.inherit import inherit
from effscope.progress import Parts, Progress, Say
from effscope.ranking.analyze import rank
from effscope.results import HEAD
from effscope.searching.base import base
from effscope.searching.baselines import baselines
from effscope.searching.changes import layout_of, position_of
from effscope.searching.context import Context
from effscope.searching.fitting import Part, fit_head, fit_stage
from effscope.searching.jobs import CANDIDATE, GIVEN, Job, Measurement
from effscope.searching.pieces import pieces
from effscope.searching.plan import Plan
from effscope.searching.policies.library import WHOLE
from effscope.searching.work import RANKS, TRAINING, WEIGHTS, Work
from effscope.spec.layout import Layout
from effscope.timing.in_turn import in_turn, named
from effscope.timing.pieces import time_pieces
from effscope.training.threads import limited
from effscope.workspace import Workspace


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
    work = Work(job, context, workspace, Parts(progress, plan.weight(job.kind)), plan, say)
    with limited(context.threads):
        found = _KINDS[job.kind](work)
    measurement = replace(found, notes=tuple(work.notes), seconds=round(time.monotonic() - began, 1))
    workspace.keep(job.id, measurement.to_dict(), tuple(work.files))
    workspace.artefact(job.id, TRAINING).unlink(missing_ok=True)
    return measurement


def _rank(work: Work) -> Measurement:
    """Rank the base's stages."""
    context, config = work.context, work.context.config
    network = _network(work, work.job.needs[0], context.layout)
    source = f"base trained for {context.splits[0].source}"
    ranks = rank(network, context.layout, RankConfig(at=config.at, threshold=config.threshold), source=source)
    ranks.save(work.file(RANKS))
    known = [row for row in ranks.stages if row.separability_2 is not None]
    by_separability = tuple(row.stage for row in sorted(known, key=lambda row: -(row.separability_2 or 0.0)))
    return Measurement(work.job.id, work.job.kind, order=ranks.order, by_separability=by_separability)


def _fit(work: Work) -> Measurement:
    """Fit one changed part to the part it replaces; the artefact has only that layer."""
    context, (change,) = work.context, work.job.changes
    base = _network(work, work.job.needs[0], context.layout)
    layout, position = layout_of(context.layout, (change,)), position_of(context.layout, change)
    network = build(expand(layout), work.job.seed)
    transfer = inherit(network, layout, context.layout, base.state_dict())
    progress = work.parts.part(work.plan.fitting, f"{work.job.title}: fitting")
    part, seed = Part(base, context.layout, layout, position), work.job.seed
    if change.stage == HEAD:
        fitted = fit_head(network, part, transfer, context, seed, progress)
    else:
        fitted = fit_stage(network, part, context, seed, progress)
    if fitted.start.error is None:
        work.notes.append(f"{work.job.title}: {fitted.words}")
    write_safetensors(work.file(WEIGHTS), network.model[str(position)].state_dict(), {})
    return Measurement(work.job.id, work.job.kind, error=fitted.errors.after)


def _start(work: Work) -> Measurement:
    """AP of a variant before any labelled training."""
    return work.measured(work.score(_assembled(work), f"{work.job.title}: AP at once"))


def _run(work: Work) -> Measurement:
    """Short training of a variant, then its AP."""
    context, title = work.context, work.job.title
    network = _assembled(work)
    work.recalibrate(network)
    teacher = _teacher(work) if context.proxy_recipe.distil_gain else None
    network = work.train(
        network, context.config.epochs, context.proxy_recipe, f"{title}: short training", teacher=teacher
    )
    work.store(layout_of(context.layout, work.job.changes), network)
    return work.measured(work.score(network, f"{title}: scoring"))


def _finish(work: Work) -> Measurement:
    """A longer training of the chosen variant, then its AP."""
    context, layout = work.context, layout_of(work.context.layout, work.job.changes)
    network, recipe = _network(work, work.job.needs[1], layout), replace(context.proxy_recipe, distil_gain=1.0)
    teacher = _teacher(work)
    network = work.train(network, context.config.finish_epochs, recipe, "chosen model: training", teacher=teacher)
    work.store(layout, network)
    return work.measured(work.score(network, "chosen model: scoring"))


def _teacher(work: Work) -> Network:
    """The given model if it knows the data's classes, else the base."""
    context = work.context
    return context.given.network() if context.fits else _network(work, work.job.needs[0], context.layout)


def _time(work: Work) -> Measurement:
    """Time the models of other jobs, in turn."""
    work.parts.part(1.0, "measuring latency")
    opened = {job: open_model(str(work.workspace.artefact(job, WEIGHTS))) for job in work.job.needs}
    networks = {GIVEN: build(expand(work.context.yours))} | {job: model.network() for job, model in opened.items()}
    context = work.context
    found = in_turn(networks, context.config.imgsz, context.device, context.runtime, context.threads, work.say)
    return Measurement(work.job.id, work.job.kind, latency=found.latency, runtime=found.runtime, threads=found.threads)


def _pieces(work: Work) -> Measurement:
    """Time each changed part alone, beside the part it replaces, and the whole base."""
    context, imgsz = work.context, work.context.config.imgsz
    progress = work.parts.part(work.plan.weight("pieces"), "measuring parts")
    parts = pieces(context.layout, work.job.changes, imgsz)
    base = build(expand(context.layout))
    whole = in_turn({WHOLE: base}, imgsz, context.device, context.runtime, context.threads, work.say)
    runtime = "torch" if whole.runtime == named("torch") else context.runtime
    found = time_pieces(parts, context.device, runtime, context.threads, progress, work.say)
    return Measurement(
        work.job.id, work.job.kind, latency=found.latency | whole.latency, runtime=found.runtime, threads=found.threads
    )


def _pace(work: Work) -> Measurement:
    """Time one variant beside the given model; its weights do not matter."""
    context = work.context
    work.parts.part(1.0, f"{work.job.title}: measuring latency")
    layouts = {GIVEN: context.yours, CANDIDATE: layout_of(context.layout, work.job.changes)}
    networks = {name: build(expand(layout)) for name, layout in layouts.items()}
    found = in_turn(networks, context.config.imgsz, context.device, context.runtime, context.threads, work.say)
    return Measurement(work.job.id, work.job.kind, latency=found.latency, runtime=found.runtime, threads=found.threads)


_KINDS: dict[str, Callable[[Work], Measurement]] = {
    "base": base, "rank": _rank, "fit": _fit, "start": _start, "run": _run, "time": _time, "pieces": _pieces,
    "pace": _pace, "finish": _finish, "baselines": baselines,
}  # fmt: skip
"""Kind of job -> function that runs it."""


def _network(work: Work, job: str, layout: Layout) -> Network:
    network = build(expand(layout))
    network.load_state_dict(work.state_of(job))
    return network


def _assembled(work: Work) -> Network:
    """The variant before training: the base's tensors, and the fitted layer of each changed stage."""
    base, *fits = work.job.needs
    layout = layout_of(work.context.layout, work.job.changes)
    network = build(expand(layout), work.context.config.seed)
    inherit(network, layout, work.context.layout, work.state_of(base))
    for change, fit in zip(work.job.changes, fits, strict=True):
        network.model[str(position_of(work.context.layout, change))].load_state_dict(work.state_of(fit))
    return network
