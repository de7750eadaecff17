"""Measure the time of models (forward pass, its parts, post-processing) and compare with a roofline prediction."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import starmap

import torch

from effscope.config import LatencyConfig
from effscope.costing.model import HEAD, REST
from effscope.costing.roofline import Device, Predicted, predicted_by
from effscope.costing.roofline import device as published
from effscope.errors import EffscopeError
from effscope.models.opened import Model
from effscope.nn.precision import pick_device
from effscope.progress import Progress, silent
from effscope.results import LatencyResult, LatencyRow, origin
from effscope.timing.clock import Job, Spread, by_turns, call_ms, threads
from effscope.timing.in_turn import slowed
from effscope.timing.peaks import processor, this_machine, torch_dtype
from effscope.timing.post_processing import post_processings
from effscope.timing.runnable import Runnable, runnable

FORWARD = "forward"
WIDE = 0.2
"""Interquartile range over median of a forward pass. Above it a note says that the machine was busy."""


def _job(model: Runnable, config: LatencyConfig, device: torch.device) -> Job:
    """A job that times one model once: a whole pass, the parts of another pass, every post-processing."""
    calls = {post.part: post.prepared(model, config, device) for post in post_processings(model, config)}

    def job() -> dict[str, float]:
        whole = {FORWARD: call_ms(model.forward, device)}
        parts = model.parts_ms() if model.parts_ms else {}
        return whole | parts | {part: call_ms(call, device) for part, call in calls.items()}

    return job


def latency(models: Sequence[Model], config: LatencyConfig | None = None, progress: Progress = silent) -> LatencyResult:
    """Time of models on this machine, one image at a time. The models run in turn.

    A layout runs in deploy form (one head, batch norms folded, branches merged); other torch modules run unchanged in
    eval mode. Parts are timed inside one pass, from layer to layer, so their sum is close to the time of the pass.
    Post-processing runs on dummy outputs with two score thresholds: `conf` for normal use (only the best class of a
    box), and `scoring_conf` for AP (all classes of a box).

    Args:
        models: opened models; traced ones at the config's image size.
        config: image size, device, rounds, and the device of the prediction; None means the defaults.
        progress: called before every run of a model.

    Raises:
        EffscopeError: a model cannot run, or the device, dtype or runtime is unknown.
    """
    config = config or LatencyConfig()
    _check(config)
    device = pick_device(config.device)
    with threads(config.threads) as n_threads, torch.inference_mode(), ExitStack() as opened:
        disturbed = slowed(n_threads) if device.type == "cpu" else ()
        on = _prediction_device(config)
        prepared = [opened.enter_context(runnable(model, config, device)) for model in models]
        named = dict(zip(_unique([model.name for model in prepared]), prepared, strict=True))
        jobs = {name: _job(model, config, device) for name, model in named.items()}
        times = by_turns(jobs, config.rounds, progress)
        progress(1.0, "")
    dtype = config.predict_dtype or config.dtype
    notes = [note for name, model in named.items() for note in (*model.notes, *_too_few_boxes(name, model, config))]
    rows = tuple(row for name, model in named.items() for row in _rows(name, model, config, on, times[name]))
    return LatencyResult(
        imgsz=config.imgsz,
        device=processor(device),
        threads=n_threads if device.type == "cpu" else None,
        dtype=config.dtype,
        runtime=config.runtime,
        rounds=config.rounds,
        predicted_for=on.name,
        predicted_dtype=dtype,
        peak=on.peak(dtype),
        bandwidth=on.bandwidth,
        ridge=on.ridge(dtype),
        source=on.source,
        fused=_fused(config),
        rows=rows,
        origin=origin(config, " ".join(m.outline.digest for m in models), seeds=(config.seed,)),
        parts_over_whole=_parts_over_whole(rows),
        notes=(*disturbed, *notes, *_varying(rows, config.rounds)),
    )


def _check(config: LatencyConfig) -> None:
    """Raises EffscopeError for an invalid setting, e.g. more threads than cores."""
    cores = os.cpu_count() or 1
    if (config.threads or 1) > cores:
        raise EffscopeError(f"`threads` is {config.threads}, but this machine has {cores} cores")
    if not config.objects or min(config.objects) < 0:
        raise EffscopeError(f"`objects` must be one or more whole numbers from 0, got {config.objects}")
    torch_dtype(config.dtype)


def _unique(names: Sequence[str]) -> list[str]:
    """The names; repeated ones get a number."""
    return [name if names.index(name) == n else f"{name} ({names[:n].count(name) + 1})" for n, name in enumerate(names)]


def _prediction_device(config: LatencyConfig) -> Device:
    dtype = config.predict_dtype or config.dtype
    if config.predict is None:
        return this_machine(config.device, config.threads, dtype, fresh=config.fresh)
    found = published(config.predict)
    found.peak(dtype)
    return found


def _fused(config: LatencyConfig) -> bool:
    """Whether the runtime fuses activations and sums; eager torch does not."""
    return config.predict is not None or config.runtime == "onnx"


def _rows(
    name: str, model: Runnable, config: LatencyConfig, on: Device, times: Mapping[str, list[float]]
) -> list[LatencyRow]:
    """Rows of a model: the pass, its parts in forward order, post-processing, totals."""
    outputs = [output for view in model.graph.views.values() for output in view]
    by_part = predicted_by(
        model.costs, on, lambda row: model.part_of.get(row.node.layer, REST), config.predict_dtype or config.dtype,
        fused=_fused(config), outputs=outputs,
    )  # fmt: skip
    whole = sum(by_part.values(), Predicted())

    def row(part: str, kind: str, ms: list[float], p: Predicted | None = None) -> LatencyRow:
        spread = Spread.of(ms)
        predicted = (1000 * p.seconds, p.bound, p.flops, p.bytes) if p else ()
        return LatencyRow(name, part, kind, spread.median_ms, spread.iqr_ms, spread.least_ms, *predicted)

    stages = [part for part in by_part if part in times]
    stages.sort(key=lambda part: (not part.startswith("stage"), part == HEAD, len(part), part))
    posts = post_processings(model, config)
    rows = [row(FORWARD, "whole", times[FORWARD], whole)]
    rows += [row(part, "part", times[part], by_part[part]) for part in stages]
    rows += [row(post.part, "post", times[post.part]) for post in posts]
    if posts:
        rows.append(row("Latency_f", "total", times[FORWARD], whole))
    elif config.runtime == "onnx":
        rows.append(row("Latency with top-k", "total", times[FORWARD], whole))
    for post in posts:
        if post.objects == config.typical:
            both = list(starmap(float.__add__, zip(times[FORWARD], times[post.part], strict=True)))
            rows.append(row(f"Latency with {post.part}", "total", both))
    return rows


def _parts_over_whole(rows: Sequence[LatencyRow]) -> dict[str, float]:
    """Model -> sum of its parts / its forward pass, medians."""
    whole = {row.model: row.median_ms for row in rows if row.kind == "whole"}
    summed: dict[str, float] = {}
    for row in rows:
        if row.kind == "part":
            summed[row.model] = summed.get(row.model, 0.0) + row.median_ms
    return {name: total / whole[name] for name, total in summed.items()}


def _too_few_boxes(name: str, model: Runnable, config: LatencyConfig) -> tuple[str, ...]:
    boxes = model.decoded_shape[1] if model.heads else 0
    left = [f"{n}" for n in config.objects if model.heads and n > boxes]
    return (f"{name}: its head has {boxes} boxes, too few for {' or '.join(left)} objects",) if left else ()


def _varying(rows: Sequence[LatencyRow], rounds: int) -> tuple[str, ...]:
    if rounds == 1:
        return ("a single round has no spread: set `rounds` to 5 or more",)
    names = [row.model for row in rows if row.kind == "whole" and row.iqr_ms > WIDE * row.median_ms]
    return (f"times of {', '.join(names)} vary widely: the machine was busy, or `rounds` is small",) if names else ()
