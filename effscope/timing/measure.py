"""Measured time of models: the forward pass and its parts, post-processing apart, beside what a roofline predicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import starmap

import torch

from effscope.config import EvalConfig, LatencyConfig
from effscope.costing.model import HEAD, REST
from effscope.costing.roofline import Device, Predicted, predicted_by
from effscope.costing.roofline import device as published
from effscope.detect.predict import CENTRED, select
from effscope.errors import EffscopeError
from effscope.models.open import Model
from effscope.nn.build import Network
from effscope.nn.fuse import deploy
from effscope.nn.precision import pick_device
from effscope.progress import Progress, silent
from effscope.results import LatencyResult, LatencyRow, origin
from effscope.spec.graph import image_shape
from effscope.timing.clock import Job, Spread, by_turns, call_ms, threads
from effscope.timing.dummy_outputs import decoded
from effscope.timing.peaks import processor, this_machine, torch_dtype
from effscope.timing.runnable import Subject, ready

FORWARD = "forward"
METHODS = {CENTRED: "NMS", "xyxy": "top-k"}
"""Box format of a head -> its post-processing."""

BUSY = 0.2
"""Interquartile range over median of a forward pass from which a note says that the machine was busy."""


@torch.inference_mode()
def forward_ms(networks: Mapping[str, Network], imgsz: int, device: str = "auto", rounds: int = 40) -> dict[str, float]:
    """Median time in ms of one image through each network, post-processing left out, float32.

    The networks take turns, so that a busy moment of the machine hits all of them.

    Args:
        networks: name -> network; measured in deploy form, the originals are untouched.
        imgsz: side of the image in px.
        device: as in `pick_device`.
        rounds: timed passes of each network.
    """
    place = pick_device(device)
    image = torch.rand(image_shape(imgsz), generator=torch.Generator().manual_seed(0)).to(place)
    passes = {name: partial(deploy(network).to(place), image) for name, network in networks.items()}
    times = by_turns({name: _whole(run, place) for name, run in passes.items()}, rounds)
    return {name: Spread.of(found[FORWARD]).median_ms for name, found in times.items()}


def _whole(run: Callable[[], object], place: torch.device) -> Job:
    return lambda: {FORWARD: call_ms(run, place)}


@dataclass(frozen=True)
class _Scene:
    """One post-processing: of a head's format, at a number of objects, for use or for scoring."""

    box_format: str
    objects: int
    conf: float
    scored: bool

    @property
    def part(self) -> str:
        conf = f", conf {self.conf:g}" if self.box_format == CENTRED else ""
        return f"{METHODS[self.box_format]}, {self.objects} objects{conf}"

    def work(self, subject: Subject, config: LatencyConfig, place: torch.device) -> Callable[[], object]:
        """The post-processing of a made-up output of this head."""
        values, boxes = subject.decoded_shape
        made = decoded(self.objects, boxes, values - 4, config.imgsz, self.box_format, config.seed).to(place)
        return partial(select, made, self.box_format, EvalConfig(conf=self.conf), multi_label=self.scored)


def _scenes(subject: Subject, config: LatencyConfig) -> list[_Scene]:
    """As many objects as the head has boxes for. Suppression depends on the lowest score, the choice of the best does
    not."""
    if not subject.heads:
        return []
    counts = [n for n in sorted({*config.objects, config.typical}) if n <= subject.decoded_shape[1]]
    uses = ((config.conf, False), (config.scoring_conf, True))
    return [
        _Scene(box_format, n, *use)
        for box_format in subject.heads
        for use in (uses if box_format == CENTRED else uses[:1])
        for n in counts
    ]


def _job(subject: Subject, config: LatencyConfig, place: torch.device) -> Job:
    """Everything of one model, once: the pass, the pass part by part, every post-processing."""
    works = {scene.part: scene.work(subject, config, place) for scene in _scenes(subject, config)}

    def job() -> dict[str, float]:
        whole = {FORWARD: call_ms(subject.forward, place)}
        laps = subject.lapped() if subject.lapped else {}
        return whole | laps | {part: call_ms(work, place) for part, work in works.items()}

    return job


def latency(models: Sequence[Model], config: LatencyConfig | None = None, progress: Progress = silent) -> LatencyResult:
    """Time of models on this machine, one image at a time, by turns.

    A layout runs in deploy form (one head, batch norms folded, branches merged), a foreign module in eval mode as it
    is. A part of the pass is timed inside the pass, from layer to layer, so the parts sum to it up to the spread.
    Post-processing runs on made-up outputs (`scenes`) at the lowest score for use, where every box has its best class,
    and at the one for scoring, where all its classes are candidates.

    Args:
        models: opened; traced ones at the config's size.
        config: size, machine, rounds, what is predicted for; None, the defaults.
        progress: told after every round.

    Raises:
        EffscopeError: a model that cannot be run so, an unknown device, dtype or runtime.
    """
    config = config or LatencyConfig()
    _check(config)
    place = pick_device(config.device)
    with threads(config.threads) as n_threads, torch.inference_mode(), ExitStack() as lent:
        on = _predicted_on(config)
        subjects = [lent.enter_context(ready(model, config, place)) for model in models]
        names = _told_apart([subject.name for subject in subjects])
        jobs = {name: _job(subject, config, place) for name, subject in zip(names, subjects, strict=True)}
        times = by_turns(jobs, config.rounds, progress)
        progress(1.0, "")
    dtype = config.predict_dtype or config.dtype
    named = dict(zip(names, subjects, strict=True))
    said = [note for name, subject in named.items() for note in (*subject.notes, *_too_many(name, subject, config))]
    rows = tuple(row for name, subject in named.items() for row in _rows(name, subject, config, on, times[name]))
    return LatencyResult(
        imgsz=config.imgsz,
        device=processor(place),
        threads=n_threads if place.type == "cpu" else None,
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
        parts_over_whole=_cover(rows),
        notes=(*said, *_busy(rows, config.rounds)),
    )


def _check(config: LatencyConfig) -> None:
    """Raises EffscopeError for settings that cannot be."""
    cores = os.cpu_count() or 1
    if (config.threads or 1) > cores:
        raise EffscopeError(f"--threads {config.threads}: this machine has {cores} cores")
    if not config.objects or min(config.objects) < 0:
        raise EffscopeError(f"objects are whole numbers from 0 on, at least one of them, got {config.objects}")
    torch_dtype(config.dtype)


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names; a second model of a name gets a number."""
    return [name if names.index(name) == n else f"{name} ({names[:n].count(name) + 1})" for n, name in enumerate(names)]


def _predicted_on(config: LatencyConfig) -> Device:
    dtype = config.predict_dtype or config.dtype
    if config.predict is None:
        return this_machine(config.device, config.threads, dtype, fresh=config.fresh)
    found = published(config.predict)
    found.peak(dtype)
    return found


def _fused(config: LatencyConfig) -> bool:
    """Eager torch computes every activation by itself; what deploys does not."""
    return config.predict is not None or config.runtime == "onnx"


def _rows(
    name: str, subject: Subject, config: LatencyConfig, on: Device, times: Mapping[str, list[float]]
) -> list[LatencyRow]:
    """Rows of a model: the pass, its parts in forward order, post-processing, totals."""
    outputs = [output for view in subject.graph.views.values() for output in view]
    by_part = predicted_by(
        subject.costs, on, lambda row: subject.part_of.get(row.node.layer, REST), config.predict_dtype or config.dtype,
        fused=_fused(config), outputs=outputs,
    )  # fmt: skip
    whole = sum(by_part.values(), Predicted())

    def row(part: str, kind: str, ms: list[float], p: Predicted | None = None) -> LatencyRow:
        spread = Spread.of(ms)
        told = (1000 * p.seconds, p.bound, p.flops, p.bytes) if p else ()
        return LatencyRow(name, part, kind, spread.median_ms, spread.iqr_ms, spread.least_ms, *told)

    stages = [part for part in by_part if part in times]
    stages.sort(key=lambda part: (not part.startswith("stage"), part == HEAD, len(part), part))
    scenes = _scenes(subject, config)
    rows = [row(FORWARD, "whole", times[FORWARD], whole)]
    rows += [row(part, "part", times[part], by_part[part]) for part in stages]
    rows += [row(scene.part, "post", times[scene.part]) for scene in scenes]
    if scenes:
        rows.append(row("Latency_f", "total", times[FORWARD], whole))
    elif config.runtime == "onnx":
        rows.append(row("Latency with top-k", "total", times[FORWARD], whole))
    for scene in scenes:
        if scene.objects == config.typical:
            both = list(starmap(float.__add__, zip(times[FORWARD], times[scene.part], strict=True)))
            rows.append(row(f"Latency with {scene.part}", "total", both))
    return rows


def _cover(rows: Sequence[LatencyRow]) -> dict[str, float]:
    """Model -> its parts over its pass."""
    whole = {row.model: row.median_ms for row in rows if row.kind == "whole"}
    summed: dict[str, float] = {}
    for row in rows:
        if row.kind == "part":
            summed[row.model] = summed.get(row.model, 0.0) + row.median_ms
    return {name: total / whole[name] for name, total in summed.items()}


def _too_many(name: str, subject: Subject, config: LatencyConfig) -> tuple[str, ...]:
    boxes = subject.decoded_shape[1] if subject.heads else 0
    left = [f"{n}" for n in config.objects if subject.heads and n > boxes]
    return (f"{name}: its head gives {boxes} boxes, too few for {' or '.join(left)} objects",) if left else ()


def _busy(rows: Sequence[LatencyRow], rounds: int) -> tuple[str, ...]:
    if rounds == 1:
        return ("one round says nothing of the spread: --rounds 5 or more",)
    names = [row.model for row in rows if row.kind == "whole" and row.iqr_ms > BUSY * row.median_ms]
    return (f"times of {', '.join(names)} spread widely: the machine was busy, or --rounds are few",) if names else ()
