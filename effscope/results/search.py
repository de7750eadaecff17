"""Result of a search: the trials, the accepted changes, and the savings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from effscope.config import SearchConfig
from effscope.results.base import Origin, Result
from effscope.results.ranking import RankResult

ACCEPTED, REJECTED, INCONCLUSIVE = "accepted", "rejected", "inconclusive"
"""Verdicts on a trial."""


@dataclass(frozen=True)
class Change:
    """One move at one stage of the base."""

    stage: int
    move: str


@dataclass(frozen=True)
class Trial:
    """One candidate: the base with some changes, compared with the base. AP in fractions 0-1.

    Attributes:
        stage, move: the change that this trial tests.
        params, flops: cost of the candidate with one head.
        ap_start: AP before any labelled training.
        ap_mean: mean of `ap_runs`, AP after the short training.
        base_ap: AP of the base after the same training.
        delta: ap_mean - base_ap.
        ci: confidence interval of `delta`; None if the rule has none.
        verdict: "accepted", "rejected", ...
        changes: all changes of the candidate, including the tested one.
        latency_ms: time of one image; None if it was not measured.
        notes: notes for the reader, one line each.
    """

    stage: int
    move: str
    params: int
    flops: int
    ap_start: float
    ap_mean: float
    ap_runs: tuple[float, ...]
    base_ap: float
    delta: float
    ci: tuple[float, float] | None
    verdict: str
    changes: tuple[Change, ...]
    latency_ms: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GivenModel:
    """The user's model: as it was given, with its own head, for the classes of the data.

    Attributes:
        params, flops: its cost with one head.
        ap: its AP before any training; None if it has no weights for the data's classes.
        fitted_ap: AP with the light head that was fitted to its own, before any training; None if no head was fitted.
        latency_ms: time of one image.
    """

    params: int
    flops: int
    ap: float | None
    fitted_ap: float | None
    latency_ms: float


@dataclass(frozen=True)
class SearchResult(Result):
    """Which changes of a base keep its AP.

    Attributes:
        base_ap: AP of the base after the short training, like `ap_mean` of a trial.
        base_ap_start: AP of the base before the short training, like `ap_start` of a trial.
        base_params, base_flops: cost of the base with one head.
        order: stages in the order of the trials.
        rule, margin: how trials are judged; the margin is in AP, a fraction.
        imgsz: side of the images in px.
        accepted: changes of the final model.
        saved: "params", "flops", "latency" -> saved fraction of the given model.
        files: content of each file -> its path.
        seconds: total wall time, over all restarts.
        ranks: ranks of the base's stages.
        base_latency_ms: time of one image in the base; None if it was not measured.
        given: the user's model; None in results of older versions, whose `saved` compares with the base.
        base_runs: AP of each short training of the base.
        resolvable: the smallest margin at which a harmless change is accepted four times in five; None if unknown.
    """

    base: str
    base_ap: float
    base_ap_start: float
    base_params: int
    base_flops: int
    order: tuple[int, ...]
    rule: str
    margin: float
    imgsz: int
    trials: tuple[Trial, ...]
    accepted: tuple[Change, ...]
    stop_reason: str
    saved: dict[str, float]
    files: dict[str, str]
    seconds: float
    notes: tuple[str, ...]
    ranks: RankResult
    origin: Origin[SearchConfig]
    base_latency_ms: float | None = None
    given: GivenModel | None = None
    base_runs: tuple[float, ...] = ()
    resolvable: float | None = None

    KIND: ClassVar[str] = "search"
    TABLE: ClassVar[str] = "trials"
