"""Result of a search: the trials, the accepted changes, and the savings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from effscope.config import SearchConfig
from effscope.errors import counted
from effscope.progress import duration
from effscope.results.base import Origin, Result
from effscope.results.codec import plain
from effscope.results.latency import Latency
from effscope.results.ranking import RankResult
from effscope.results.showing import percent
from effscope.results.stages import HEAD

ACCEPTED, REJECTED, INCONCLUSIVE = "accepted", "rejected", "inconclusive"
"""Verdicts on a trial."""

LATENCY_COLUMNS = {
    "ms": "latency_ms", "iqr_ms": "latency_iqr_ms", "all_ms": "latency_all_ms", "all_iqr_ms": "latency_all_iqr_ms",
}  # fmt: skip
"""Field of `Latency` -> column of the main table."""


@dataclass(frozen=True)
class Change:
    """One move at one stage of the base, or at its head (`HEAD`)."""

    stage: int
    move: str


def spelled(changes: Iterable[Change]) -> str:
    """Changes in words, by move: "slim-50 at 4, 8; light-head"; "base" without changes."""
    by_move: dict[str, list[str]] = {}
    for change in changes:
        by_move.setdefault(change.move, []).extend([] if change.stage == HEAD else [str(change.stage)])
    return "; ".join(f"{move} at {', '.join(at)}" if at else move for move, at in by_move.items()) or "base"


@dataclass(frozen=True)
class Trial:
    """One candidate: the base with some changes, compared with the base. AP in fractions 0-1.

    Attributes:
        stage, move: the change that this trial tests; None if it tests several at once.
        params, flops: cost of the candidate with one head.
        ap_start: AP before any labelled training.
        ap_mean: mean of `ap_runs`, AP after the short training.
        base_ap: AP of the base after the same training.
        delta: ap_mean - base_ap.
        ci: confidence interval of `delta`; None if the rule has none.
        verdict: "accepted", "rejected", ...
        changes: all changes of the candidate, including the tested one.
        latency: time of one image; None if it was not measured.
        notes: notes for the reader, one line each.
    """

    stage: int | None
    move: str | None
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
    latency: Latency | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryRow:
    """One change alone, fitted without labels: what it saves and what it costs at once.

    Attributes:
        stage, move: the change; stage 0 is the head.
        params, flops: what it saves.
        ms_before, ms_after: time of the replaced part and of the new one, each alone; None if not measured.
        error: normalised error of the new part on held-back images.
        ap: AP of the base with this change alone, before any labelled training.
        damage: AP of the base minus `ap`.
    """

    stage: int
    move: str
    params: int
    flops: int
    ms_before: float | None
    ms_after: float | None
    error: float | None
    ap: float
    damage: float


@dataclass(frozen=True)
class Baseline:
    """The user's model, the base, the chosen model, or a way to be faster without changing a layer, measured in turn.

    Attributes:
        name: what was done, e.g. "the base at 192 px".
        chosen: whether it was done to the chosen model instead of the base.
        ap: its AP, of the weights of the first run.
        latency: time of one image; None if it was not measured.
        torch: the same in torch, if onnxruntime measured `latency`.
        true_ap: in a search without labels, AP on the labels that the images have after all; None without.
        rival: whether it is another model, which the user wants to compare with.
    """

    name: str
    chosen: bool
    ap: float
    latency: Latency | None
    torch: Latency | None = None
    true_ap: float | None = None
    rival: bool = False


@dataclass(frozen=True)
class Finish:
    """The chosen model after a longer training at the end.

    Attributes:
        epochs: epochs of this training.
        ap: its AP afterwards.
        against: AP of the model it is compared with: the user's as given, or the base if the user's knows other
            classes.
        delta: ap - against.
        ci: confidence interval of `delta`.
        verdict: "accepted", "rejected" or "inconclusive".
        note: the verdict in a sentence.
        kept: whether its weights are the written ones; False if its AP is below that of the first run.
    """

    epochs: int
    ap: float
    against: float
    delta: float
    ci: tuple[float, float]
    verdict: str
    note: str
    kept: bool = True


@dataclass(frozen=True)
class FrontPoint:
    """A model on the front of AP and cost: judged, or predicted from its changes alone.

    Attributes:
        changes: its changes; empty for the base.
        params, flops, latency_ms: its cost; latency with one thread, or on a GPU; of a predicted model, the base's less
            what each change saves alone.
        ap: mean AP after the short training; None for a predicted model.
        verdict: the rule's verdict; "base" for the base, "predicted" for a model that was not made.
        ap_at_once: AP before labelled training; of a predicted model, the base's less what each change costs alone.
    """

    changes: tuple[Change, ...]
    params: int
    flops: int
    latency_ms: float | None
    ap: float | None
    verdict: str
    ap_at_once: float | None = None


@dataclass(frozen=True)
class GivenModel:
    """The user's model: as it was given, with its own head, for the classes of the data.

    Attributes:
        params, flops: its cost with one head.
        ap: its AP before any training; None if it has no weights for the data's classes.
        fitted_ap: AP with the light head that was fitted to its own, before any training; None if no head was fitted.
        latency: time of one image; None if it was not measured.
    """

    params: int
    flops: int
    ap: float | None
    fitted_ap: float | None
    latency: Latency | None


@dataclass(frozen=True, repr=False)
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
        saved: "params", "flops", "latency" (one thread or GPU), "latency_all" (all threads) -> saved fraction of the
            given model.
        files: content of each file -> its path.
        seconds: total wall time, over all restarts.
        ranks: ranks of the base's stages.
        base_latency: time of one image in the base; None if it was not measured.
        runtime: what measured the latencies, e.g. "onnxruntime 1.32.0".
        threads: threads of `all_ms`.
        given: the user's model; None in results of older versions, whose `saved` compares with the base.
        base_runs: AP of each short training of the base.
        resolvable: the smallest margin at which a harmless change is accepted four times in five; None if unknown.
        target: "params", "flops", "latency" -> fraction of the given model's cost that the user asked to save.
        library: every change alone, if the search made them all.
        finish: the chosen model after the training at the end; None without one.
        library_ms: time of the whole base, measured as the parts of `library`; None if they were not measured.
        front: base and judged candidates that no other one beats in AP and cost; with a target also what was predicted.
        baselines: base and chosen model as they are, at smaller image sizes and in int8, measured in turn.
        base_epochs: epochs that the search trained the base; 0 if it did not; None in results of older versions.
        given_ci: confidence interval of the chosen model's mean AP minus that of the user's model as given; None if the
            user's model has no AP.
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
    base_latency: Latency | None = None
    runtime: str = ""
    threads: int = 1
    given: GivenModel | None = None
    base_runs: tuple[float, ...] = ()
    resolvable: float | None = None
    target: dict[str, float] = field(default_factory=dict)
    library: tuple[LibraryRow, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    library_ms: float | None = None
    finish: Finish | None = None
    base_epochs: int | None = None
    given_ci: tuple[float, float] | None = None

    KIND: ClassVar[str] = "search"
    TABLE: ClassVar[str] = "trials"
    SHOWN: ClassVar = ("stage", "move", "params", "flops", "latency_ms", "ap_start", "ap_mean", "delta", "verdict")

    def lines(self) -> tuple[str, ...]:
        """What was kept, what it saves, and AP; why the search ended."""
        kept = f"kept {spelled(self.accepted)}" if self.accepted else "nothing was changed"
        saved = ", ".join(f"{name} {percent(-share)}" for name, share in self.saved.items()) if self.accepted else ""
        chosen = next((t for t in reversed(self.trials) if {*t.changes} == {*self.accepted}), None)
        ap = f"AP {chosen.ap_mean:.3f}, base {chosen.base_ap:.3f}" if chosen else f"AP of the base {self.base_ap:.3f}"
        return (
            f"{self.base}: {kept}",
            "; ".join(filter(None, (saved, f"{ap} (fractions 0-1), margin {self.margin:g}"))),
            f"{counted(len(self.trials), 'trial')} in {duration(self.seconds)}; end: {self.stop_reason}",
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """A dict per trial; latencies in columns of their own."""
        rows = []
        for trial in self.trials:
            row = plain(trial)
            times = plain(trial.latency) if trial.latency else dict.fromkeys(LATENCY_COLUMNS)
            del row["latency"]
            rows.append(row | {name: times[key] for key, name in LATENCY_COLUMNS.items()})
        return rows
