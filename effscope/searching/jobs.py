"""The work of a search as data: jobs that can run anywhere, and the measurements they come back with.

A job's id is a hash of everything that decides its outcome, so a job with the same id has the same outcome. That is why
a search that was stopped, or that runs its jobs elsewhere, ends with the result of an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

from effscope.config import SearchConfig, to_dict
from effscope.results import Change
from effscope.results.codec import plain, read
from effscope.searching.changes import Changes, canonical, spelled

DECIDING: Mapping[str, tuple[str, ...]] = {
    "base": ("base", "weights", "head", "imgsz", "base_epochs", "batch", "distil", "recipe"),
    "rank": ("at", "threshold"),
    "fit": ("imgsz", "distil"),
    "start": ("imgsz", "batch"),
    "run": ("imgsz", "epochs", "batch", "proxy_recipe"),
    "time": ("imgsz",),
}
"""Kind of job -> the settings of a search that decide its outcome, beside the jobs it needs.

base: train or load the base, score it.     rank: rank its stages.
fit: fit one changed stage to the stage it replaces.     start: AP of a variant before any labelled training.
run: short training of a variant, then AP.     time: latency of variants, measured by turns.
"""


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        kind: a key of `DECIDING`.
        changes: the variant it is about; of a `fit` the one change.
        seed: fixes everything random in it.
        settings: digest of the settings, the data and the machine that decide its outcome.
        needs: ids of the jobs whose artefacts it reads.
    """

    kind: str
    changes: Changes
    seed: int
    settings: str
    needs: tuple[str, ...] = ()

    @cached_property
    def id(self) -> str:
        """Readable start and a hash of all fields, e.g. "run-4cib-8cib-0f31c2a9b7d4"; a valid file name."""
        text = json.dumps(asdict(self), sort_keys=True)
        variant = "".join(f"{change.stage}{change.move}-" for change in self.changes[:4])
        return f"{self.kind}-{variant}{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def title(self) -> str:
        """For progress, e.g. "stage 8"; the base is "base"."""
        return f"stage {spelled(self.changes)}" if self.changes else "base"


@dataclass(frozen=True)
class Measurement:
    """What a job found. Plain data: it is written to the journal and beside the job's artefacts.

    Attributes:
        job, kind: id and kind of the job.
        ap: AP50-95, a fraction, of `base`, `start` and `run`.
        order: stages in ascending rank, of `rank`.
        error: normalised error of the fitted stage, of `fit`.
        ms: job id -> milliseconds of that job's model, of `time`.
        notes: what the user must know, in the order it happened.
        seconds: wall time of the job; for a job that was interrupted, since it went on.
    """

    job: str
    kind: str
    ap: float | None = None
    order: tuple[int, ...] = ()
    error: float | None = None
    ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return cast("dict[str, Any]", plain(self))

    @classmethod
    def from_dict(cls, data: Any) -> Measurement:
        """The inverse of `to_dict`, also after a trip through JSON. Raises EffscopeError that names the wrong key."""
        return cast("Measurement", read(cls, data))


@dataclass(frozen=True)
class JobBook:
    """Writes the jobs of one search.

    Attributes:
        settings: kind of job -> digest of what decides it.
        seed: of the search; the n-th run of a variant has seed + n.
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
        """Fit one changed stage. It depends on no other change."""
        return self._job("fit", (change,), needs=(self.base().id,))

    def start(self, changes: Sequence[Change]) -> Job:
        """AP of a variant as it starts."""
        return self._job("start", canonical(changes), needs=self._parts(changes))

    def run(self, changes: Sequence[Change], n: int = 0) -> Job:
        """The n-th short training of a variant, from 0."""
        return self._job("run", canonical(changes), n, self._parts(changes))

    def time(self, variants: Sequence[Sequence[Change]]) -> Job:
        """Latency of variants, as their first runs left them."""
        return self._job("time", needs=tuple(self.run(changes).id for changes in variants))

    def _parts(self, changes: Sequence[Change]) -> tuple[str, ...]:
        return (self.base().id, *(self.fit(change).id for change in canonical(changes)))

    def _job(self, kind: str, changes: Changes = (), n: int = 0, needs: tuple[str, ...] = ()) -> Job:
        return Job(kind, changes, self.seed + n, self.settings[kind], needs)


def job_book(config: SearchConfig, inputs: Mapping[str, Any]) -> JobBook:
    """The job book of a search.

    Args:
        config: the search.
        inputs: everything else that decides outcomes, as JSON data: digests of layout, weights and both splits;
            device and threads, because sums in bfloat16 depend on them.
    """
    values = to_dict(config)
    return JobBook(
        {kind: _digest([inputs, [values[name] for name in names]]) for kind, names in DECIDING.items()}, config.seed
    )


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
