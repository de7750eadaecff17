"""The work of a search as data: jobs that can run anywhere, and their measurements.

The id of a job is a hash of everything that decides its outcome, so two jobs with the same id have the same outcome.
Therefore a search has the same result if it is stopped and resumed, or if its jobs run on other machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

from effscope.config import SearchConfig, to_dict
from effscope.results import Baseline, Change, Latency, spelled
from effscope.results.codec import plain, read
from effscope.searching.changes import Changes, canonical

DECIDING: Mapping[str, tuple[str, ...]] = {
    "base": (
        "base",
        "weights",
        "labels",
        "head",
        "margin",
        "imgsz",
        "base_epochs",
        "epochs",
        "batch",
        "distil",
        "recipe",
        "proxy_recipe",
    ),
    "rank": ("at", "threshold"),
    "fit": ("imgsz", "distil"),
    "start": ("imgsz", "batch"),
    "run": ("imgsz", "epochs", "batch", "proxy_recipe"),
    "time": ("imgsz", "runtime"),
    "pieces": ("imgsz", "runtime"),
    "pace": ("imgsz", "runtime"),
    "finish": ("imgsz", "finish_epochs", "batch", "proxy_recipe"),
    "baselines": ("imgsz", "runtime", "batch", "against"),
}
"""Kind of job -> the settings of a search that decide its outcome, in addition to the jobs it needs.

base: train or load the base, score it.     rank: rank its stages.
fit: fit one changed stage to the stage it replaces.     start: AP of a variant before any labelled training.
run: short training of a variant, then AP.     time: latency of variants, measured in turn.
pieces: latency of each changed part alone, and of the part it replaces.     pace: latency of one variant.
finish: the training of the chosen variant at the end, then AP.
baselines: AP and latency of the given model, the base, the chosen variant and another model, of the base at smaller
image sizes, and of base and variant in int8.
"""


GIVEN, CANDIDATE = "given", "candidate"
"""Keys of the given model among the times of a `time` or `pace` job, and of the variant of a `pace` job."""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        kind: a key of `DECIDING`.
        changes: the variant of the job; for `fit` a single change, for `pieces` every change to time.
        seed: random seed of the job.
        settings: digest of the settings, data and machine that decide the outcome.
        needs: ids of jobs; this job reads their artefacts.
    """

    kind: str
    changes: Changes
    seed: int
    settings: str
    needs: tuple[str, ...] = ()

    @cached_property
    def id(self) -> str:
        """A readable prefix and a hash of all fields, e.g. "run-4cib-8cib-0f31c2a9b7d4"; a valid file name."""
        text = json.dumps(asdict(self), sort_keys=True)
        variant = "".join(f"{change.stage}{change.move}-" for change in self.changes[:4])
        return f"{self.kind}-{variant}{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def title(self) -> str:
        """Name for the progress line, e.g. "cib at 8"; "base" for the base."""
        return spelled(()) if self.kind == "pieces" else spelled(self.changes)


@dataclass(frozen=True)
class Measurement:
    """The result of a job: plain data, stored in the journal and together with the job's artefacts.

    Attributes:
        job, kind: id and kind of the job.
        ap: AP50-95, a fraction (`base`, `start`, `run` and `finish`).
        left_out: AP without each group of validation images in turn (`detect/jackknife`); with `ap`.
        given_ap: AP of the given model, if its weights know the data's classes (`base`).
        given_left_out: as `left_out`, of the given model; with `given_ap`.
        fitted_ap: AP of the base after its head was fitted, before any training; None if no head was fitted (`base`).
        order, by_separability: stages in ascending rank, and in descending separability (`rank`).
        error: normalised error of the fitted stage on held-back images (`fit`).
        latency: job id or `GIVEN` (`time`), `GIVEN` or `CANDIDATE` (`pace`), name of a piece (`pieces`) -> latency.
        baselines: each with its AP and latency (`baselines`).
        runtime, threads: what measured the latencies, with how many threads at most.
        notes: notes for the user, in order of time.
        seconds: wall time of the job; for an interrupted job, since it was resumed.
    """

    job: str
    kind: str
    ap: float | None = None
    left_out: tuple[float, ...] = ()
    given_ap: float | None = None
    given_left_out: tuple[float, ...] = ()
    fitted_ap: float | None = None
    order: tuple[int, ...] = ()
    by_separability: tuple[int, ...] = ()
    error: float | None = None
    latency: dict[str, Latency] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    runtime: str = ""
    threads: int = 1
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return cast("dict[str, Any]", plain(self))

    @classmethod
    def from_dict(cls, data: Any) -> Measurement:
        """The inverse of `to_dict`; also accepts data read from JSON. Raises EffscopeError that names the wrong key."""
        return cast("Measurement", read(cls, data))


@dataclass(frozen=True)
class JobBook:
    """Creates the jobs of one search.

    Attributes:
        settings: kind of job -> digest of everything that decides its outcome.
        seed: seed of the search; the n-th run of a variant has seed + n.
    """

    settings: Mapping[str, str]
    seed: int

    def base(self) -> Job:
        """Train or load the base."""
        return self._job("base")

    def rank(self) -> Job:
        """Rank the base's stages."""
        return self._job("rank", needs=(self.base().id,))

    def fit(self, change: Change) -> Job:
        """Fit one changed stage, independently of other changes."""
        return self._job("fit", (change,), needs=(self.base().id,))

    def start(self, changes: Sequence[Change]) -> Job:
        """AP of a variant before training."""
        return self._job("start", canonical(changes), needs=self._parts(changes))

    def run(self, changes: Sequence[Change], n: int = 0) -> Job:
        """The n-th short training of a variant, from 0."""
        return self._job("run", canonical(changes), n, self._parts(changes))

    def time(self, variants: Sequence[Sequence[Change]]) -> Job:
        """Latency of variants, with the models of their first runs."""
        return self._job("time", needs=tuple(self.run(changes).id for changes in variants))

    def pieces(self, changes: Sequence[Change]) -> Job:
        """Latency of the parts that changes make and replace, each alone."""
        return self._job("pieces", tuple(changes))

    def pace(self, changes: Sequence[Change]) -> Job:
        """Latency of a variant beside the given model, before it has weights."""
        return self._job("pace", canonical(changes))

    def finish(self, changes: Sequence[Change]) -> Job:
        """A longer training of a variant, from the weights of its first run."""
        return self._job("finish", canonical(changes), needs=(self.base().id, self.run(changes).id))

    def baselines(self, changes: Sequence[Change], finished: bool = False) -> Job:
        """What can be had without changes, with the models of the first runs of the base and of a variant, or with the
        finished variant."""
        chosen = (self.finish if finished else self.run)(changes)
        models = (self.run(()), chosen) if changes else (self.run(()),)
        return self._job("baselines", canonical(changes), needs=tuple(job.id for job in models))

    def _parts(self, changes: Sequence[Change]) -> tuple[str, ...]:
        return (self.base().id, *(self.fit(change).id for change in canonical(changes)))

    def _job(self, kind: str, changes: Changes = (), n: int = 0, needs: tuple[str, ...] = ()) -> Job:
        return Job(kind, changes, self.seed + n, self.settings[kind], needs)


def job_book(config: SearchConfig, inputs: Mapping[str, Any], rival: str = "") -> JobBook:
    """The job book of a search.

    Args:
        config: settings of the search.
        inputs: everything else that decides outcomes, as JSON data: digests of layout, weights and both splits;
            device and threads, because sums in bfloat16 depend on them.
        rival: hash of the model to compare with, which decides `baselines` alone.
    """
    values = to_dict(config)
    settings = {kind: _digest([inputs, [values[name] for name in names]]) for kind, names in DECIDING.items()}
    return JobBook({**settings, "baselines": _digest([settings["baselines"], rival])}, config.seed)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
