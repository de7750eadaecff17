"""What every policy of a search shares: its state, how far it is, and how a candidate is judged. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from effscope.errors import EffscopeError, counted
from effscope.results import ACCEPTED, Change, Latency, Trial, place_name, spelled
from effscope.searching.changes import Changes, Costs, canonical
from effscope.searching.evidence import Arm, Evidence, Run, mean_ap
from effscope.searching.jobs import Job, JobBook, Measurement
from effscope.searching.rules import RULES, MoreRuns, Terms, Verdict, smallest_margin


@dataclass(frozen=True)
class State:
    """A search after some measurements.

    Attributes:
        book: creates the jobs.
        costs: costs of all variants.
        changes: every change that the search may make, by stage, then in the order of the user's moves.
        rule, terms: when a candidate is accepted.
        learned_ap: the search ends if the AP of the base is below it.
        order: how the greedy policy orders the stages.
        targets: "params", "flops", "latency" -> fraction of the given model's that the target policy must save.
        finishes: whether the chosen model is trained once more at the end.
        table: latencies that the user measured, as in a `pieces` measurement; None: they are measured here.
        done: job id -> measurement, in the order in which they were folded.
    """

    book: JobBook
    costs: Costs
    changes: tuple[Change, ...]
    rule: str
    terms: Terms
    learned_ap: float
    order: str = "rank"
    targets: Mapping[str, float] = field(default_factory=dict)
    finishes: bool = False
    table: Mapping[str, Latency] | None = None
    done: Mapping[str, Measurement] = field(default_factory=dict)

    def found(self, job: Job) -> Measurement | None:
        """The measurement of a job; None if there is none yet."""
        return self.done.get(job.id)

    def missing(self, jobs: Sequence[Job]) -> tuple[Job, ...]:
        """The jobs that are not measured yet."""
        return tuple(job for job in jobs if self.found(job) is None)

    def arm(self, changes: Sequence[Change], n: int) -> Arm:
        """The finished ones among the first n runs of a variant."""
        found = [measurement for k in range(n) if (measurement := self.found(self.book.run(changes, k))) is not None]
        return tuple(Run(measurement.ap, measurement.left_out) for measurement in found if measurement.ap is not None)

    def ap_at_once(self, changes: Sequence[Change]) -> float | None:
        """AP of a variant before any labelled training; None if it is not measured."""
        found = self.found(self.book.start(changes))
        return None if found is None else found.ap


@dataclass(frozen=True)
class Standing:
    """The progress of a search, derived from its state.

    Attributes:
        jobs: jobs to measure next, in order; empty at the end of the search.
        base: measurement of the base.
        base_runs: the base's short trainings.
        order: stages in the order of the trials.
        trials: the judged candidates.
        accepted: changes of the chosen model, in the order they were accepted.
        times: latency of the variants; None until it is measured.
        finished: measurement of the chosen model after the training at the end; None without one.
        baselines: what can be had without changes; None until it is measured.
        stop_reason: why no more candidates are tried; empty while the search tries some.
        said: what the policy has to say to the user, in order.
    """

    jobs: tuple[Job, ...] = ()
    base: Measurement | None = None
    base_runs: Arm = ()
    order: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    accepted: tuple[Change, ...] = ()
    times: Measurement | None = None
    finished: Measurement | None = None
    baselines: Measurement | None = None
    stop_reason: str = ""
    said: tuple[str, ...] = ()

    @property
    def base_ap(self) -> float:
        """Mean AP of the base's short trainings; without any, of the base."""
        if self.base_runs or self.base is None:
            return mean_ap(self.base_runs)
        return self.base.ap or 0.0

    @property
    def learned(self) -> bool:
        """Whether the AP of the base is high enough to judge changes."""
        return self.stop_reason != NOT_LEARNED


PILOT = 2
"""Runs of the base after which the noise is estimated for the first time."""

NOT_LEARNED = "the base has not learned"


def begun(state: State) -> Standing:
    """The standing of the base: measured, and good enough to judge changes."""
    base = state.found(state.book.base())
    if base is None:
        return Standing((state.book.base(),))
    if (base.ap or 0.0) < state.learned_ap:
        return Standing(base=base, stop_reason=NOT_LEARNED)
    return Standing(base=base, base_runs=state.arm((), RULES[state.rule].most_runs(state.terms.runs)))


def first_runs(state: State) -> tuple[Job, ...]:
    """The runs of the base before the first look of the rule."""
    return tuple(state.book.run((), n) for n in range(RULES[state.rule].looks[0]))


def judge(state: State, now: Standing, changes: Changes, tested: Change | None) -> Trial | tuple[Job, ...]:
    """A judged candidate, or the jobs that are needed to judge it.

    Args:
        state, now: the search so far.
        changes: the candidate.
        tested: the change that it tests, if it is one.
    """
    book, rule = state.book, RULES[state.rule]
    needed = rule.looks[0]
    while True:
        runs = [book.run(changes, n) for n in range(needed)]
        base = [book.run((), n) for n in range(needed)]
        fits = state.missing([book.fit(change) for change in changes])
        missing = fits or state.missing([book.start(changes), *base, *runs])
        if missing:
            return missing
        arm = state.arm(changes, needed)
        verdict = rule.decide(Evidence(now.base_runs, arm, arms(state, now)), state.terms)
        if not isinstance(verdict, MoreRuns):
            return _trial(state, now, changes, tested, arm, verdict)
        if verdict.n <= needed:
            raise EffscopeError(f"rule '{state.rule}' asks for {verdict.n} runs and has {needed}")
        needed = verdict.n


def _trial(state: State, now: Standing, changes: Changes, tested: Change | None, arm: Arm, verdict: Verdict) -> Trial:
    start, count = state.ap_at_once(changes), state.costs.of(changes)
    assert start is not None
    return Trial(
        stage=None if tested is None else tested.stage,
        move=None if tested is None else tested.move,
        params=count.params,
        flops=count.flops,
        ap_start=start,
        ap_mean=mean_ap(arm),
        ap_runs=tuple(run.ap for run in arm),
        base_ap=mean_ap(now.base_runs[: len(arm)]),
        delta=verdict.delta,
        ci=verdict.ci,
        verdict=verdict.word,
        changes=changes,
        notes=(verdict.note,) if verdict.note else (),
    )


def timed(state: State, now: Standing) -> Standing:
    """The standing after the last trial: one job times the base and every tried variant, one trains the chosen model
    once more if the user wants it, one measures baselines."""
    variants = tuple(dict.fromkeys([(), *(trial.changes for trial in now.trials)]))
    job = state.book.time(variants)
    times = state.found(job)
    if times is None:
        return replace(now, jobs=(job,))
    trials = tuple(replace(t, latency=times.latency[state.book.run(t.changes).id]) for t in now.trials)
    now, book, finishes = replace(now, trials=trials, times=times), state.book, state.finishes and bool(now.accepted)
    if finishes:
        now = replace(now, finished=state.found(book.finish(now.accepted)))
        if now.finished is None:
            return replace(now, jobs=(book.finish(now.accepted),))
    others = book.baselines(now.accepted, better_finished(state, now))
    return replace(now, jobs=state.missing((others,)), baselines=state.found(others))


def better_finished(state: State, now: Standing) -> bool:
    """Whether the training at the end left the chosen model with at least the AP of its first run."""
    first = state.found(state.book.run(now.accepted))
    return now.finished is not None and first is not None and (now.finished.ap or 0.0) >= (first.ap or 0.0)


def arms(state: State, now: Standing) -> tuple[Arm, ...]:
    """The runs of the judged candidates."""
    return tuple(state.arm(trial.changes, len(trial.ap_runs)) for trial in now.trials)


def title(trial: Trial) -> str:
    """Name of a trial in sentences: its stage, or all its changes."""
    return place_name(trial.stage) if trial.stage is not None else f"candidate with {spelled(trial.changes)}"


def remarks(state: State, now: Standing) -> tuple[str, ...]:
    """What the user should know by now, one line each: what drop can be told, what the policy says, every verdict."""
    lines = [_resolution(state, now.base_runs[:PILOT], ())] if len(now.base_runs) >= PILOT else []
    lines += now.said
    for trial, arm in zip(now.trials, arms(state, now), strict=True):
        lines += [f"{title(trial)} {trial.verdict}: {note}" for note in trial.notes]
        if trial is now.trials[0]:
            lines.append(_resolution(state, now.base_runs[: len(arm)], (arm,)))
    return tuple(filter(None, lines))


def _resolution(state: State, base: Arm, others: tuple[Arm, ...]) -> str:
    """The loss that can be told from none, after some runs; empty if it is not known."""
    terms = state.terms
    told = smallest_margin(state.rule, base, others, terms)
    if told is None:
        return ""
    if others:
        line = f"after the first candidate: a loss of about {100 * told:.1f} points can be told from none"
    else:
        size = f"{100 * told:.1f} points, perhaps a smaller one,"
        line = f"after {counted(len(base), 'run')} of the base: a loss of {size} can be told from none"
    if told <= terms.margin:
        return line
    return (
        f"{line}, more than the margin of {100 * terms.margin:g}: harmless changes may end inconclusive; allow a "
        "larger `margin`, or give more validation images"
    )


Stand = Callable[[State], Standing]
"""A policy as one pure function: state -> how far the search is and what it needs next."""


def folded(stand: Stand, state: State, measurement: Measurement) -> State:
    """The state after one more measurement.

    Raises:
        EffscopeError: the search has not proposed this job.
    """
    asked = {job.id for job in stand(state).jobs}
    if measurement.job not in asked:
        wanted = ", ".join(sorted(asked)) or "nothing more"
        raise EffscopeError(f"unknown measurement '{measurement.job}': the search waits for {wanted}")
    return replace(state, done={**state.done, measurement.job: measurement})


def accepted_changes(trials: Sequence[Trial]) -> Changes:
    """The changes of the last accepted candidate."""
    last = next((trial for trial in reversed(trials) if trial.verdict == ACCEPTED), None)
    return () if last is None else canonical(last.changes)
