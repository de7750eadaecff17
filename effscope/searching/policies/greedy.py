"""The greedy search: stages in ascending rank, one move, stop at the first change that costs AP.

The order is computed once, on the base. Each change is added to the accepted changes and compared with the base, never
with the last variant. The functions are pure: the next jobs depend only on the measurements so far.
Source: YOLOv10 (arXiv 2405.14458, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from effscope.errors import EffscopeError
from effscope.results import ACCEPTED, Change, Trial
from effscope.searching.changes import Changes, Costs, canonical
from effscope.searching.evidence import Arm, Evidence, Run, mean_ap
from effscope.searching.jobs import Job, JobBook, Measurement
from effscope.searching.rules import RULES, MoreRuns, Rule, Terms, Verdict, smallest_margin


@dataclass(frozen=True)
class State:
    """A greedy search after some measurements.

    Attributes:
        book: creates the jobs.
        costs: costs of all variants.
        move: the move of all changes.
        stages: stages that the move can change.
        rule, terms: when a change is accepted.
        learned_ap: the search ends if the AP of the base is below it.
        done: job id -> measurement, in the order in which they were folded.
    """

    book: JobBook
    costs: Costs
    move: str
    stages: tuple[int, ...]
    rule: str
    terms: Terms
    learned_ap: float
    done: Mapping[str, Measurement] = field(default_factory=dict)

    def found(self, job: Job) -> Measurement | None:
        """The measurement of a job; None if there is none yet."""
        return self.done.get(job.id)


@dataclass(frozen=True)
class Standing:
    """The progress of a search, derived from its state.

    Attributes:
        jobs: jobs to measure next, in order; empty at the end of the search.
        base: measurement of the base.
        base_runs: the base's short trainings.
        order: stages in the order of the trials.
        trials: the judged changes.
        times: latency of the variants; None until it is measured.
        stop_reason: why no more changes are tried; empty while the search tries changes.
    """

    jobs: tuple[Job, ...] = ()
    base: Measurement | None = None
    base_runs: Arm = ()
    order: tuple[int, ...] = ()
    trials: tuple[Trial, ...] = ()
    times: Measurement | None = None
    stop_reason: str = ""

    @property
    def accepted(self) -> tuple[Change, ...]:
        """The accepted changes, in the order they were tried."""
        return tuple(Change(t.stage, t.move) for t in self.trials if t.verdict == ACCEPTED)

    @property
    def base_ap(self) -> float:
        """Mean AP of the base's short trainings."""
        return mean_ap(self.base_runs)

    @property
    def learned(self) -> bool:
        """Whether the AP of the base is high enough to judge changes."""
        return self.stop_reason != NOT_LEARNED


PILOT = 2
"""Runs of the base after which the noise is estimated for the first time."""

NOT_LEARNED = "the base has not learned"


def propose(state: State) -> tuple[Job, ...]:
    """The jobs to measure next, in order; empty at the end of the search."""
    return standing(state).jobs


def fold(state: State, measurement: Measurement) -> State:
    """The state after one more measurement.

    Raises:
        EffscopeError: the search has not proposed this job.
    """
    asked = {job.id for job in propose(state)}
    if measurement.job not in asked:
        wanted = ", ".join(sorted(asked)) or "nothing more"
        raise EffscopeError(f"unknown measurement '{measurement.job}': the search waits for {wanted}")
    return replace(state, done={**state.done, measurement.job: measurement})


def standing(state: State) -> Standing:
    """Derive the progress of a search from its measurements."""
    book, rule = state.book, RULES[state.rule]
    base = state.found(book.base())
    if base is None:
        return Standing((book.base(),))
    if (base.ap or 0.0) < state.learned_ap:
        return Standing(base=base, stop_reason=NOT_LEARNED)
    runs = _arm(state, [book.run((), n) for n in range(rule.most_runs(state.terms.runs))])
    first = [book.run((), n) for n in range(rule.looks[0])]
    missing, ranks = _missing(state, (book.rank(), *first)), state.found(book.rank())
    if missing or ranks is None:
        return Standing(missing, base, runs)
    order = tuple(stage for stage in ranks.order if stage in state.stages)
    return _judged(state, Standing((), base, runs, order), rule)


def _judged(state: State, now: Standing, rule: Rule) -> Standing:
    """The standing after judging as many stages as the measurements allow."""
    for stage in now.order:
        change = Change(stage, state.move)
        answer = _answer(state, now, change, rule)
        if not isinstance(answer, Trial):
            return replace(now, jobs=answer)
        now = replace(now, trials=(*now.trials, answer))
        if answer.verdict != ACCEPTED:
            reason = f"stage {stage} {answer.verdict}: AP {100 * answer.delta:+.1f} points against the base"
            return _timed(state, replace(now, stop_reason=reason))
    return _timed(state, replace(now, stop_reason="every stage was tried" if now.order else "no stage has a rank"))


def _answer(state: State, now: Standing, change: Change, rule: Rule) -> Trial | tuple[Job, ...]:
    """The judged change, or the jobs that are needed to judge it."""
    book, changes = state.book, canonical((*now.accepted, change))
    needed = rule.looks[0]
    while True:
        runs = [book.run(changes, n) for n in range(needed)]
        base = [book.run((), n) for n in range(needed)]
        missing = _missing(state, (book.fit(change),)) or _missing(state, (book.start(changes), *base, *runs))
        if missing:
            return missing
        arm = _arm(state, runs)
        verdict = rule.decide(Evidence(now.base_runs, arm, arms(state, now)), state.terms)
        if not isinstance(verdict, MoreRuns):
            return _trial(state, now, change, changes, arm, verdict)
        if verdict.n <= needed:
            raise EffscopeError(f"rule '{state.rule}' asks for {verdict.n} runs and has {needed}")
        needed = verdict.n


def _trial(state: State, now: Standing, change: Change, changes: Changes, arm: Arm, verdict: Verdict) -> Trial:
    start, count = state.found(state.book.start(changes)), state.costs.of(changes)
    assert start is not None
    assert start.ap is not None
    return Trial(
        stage=change.stage,
        move=change.move,
        params=count.params,
        flops=count.flops,
        ap_start=start.ap,
        ap_mean=mean_ap(arm),
        ap_runs=tuple(run.ap for run in arm),
        base_ap=mean_ap(now.base_runs[: len(arm)]),
        delta=verdict.delta,
        ci=verdict.ci,
        verdict=verdict.word,
        changes=changes,
        notes=(verdict.note,) if verdict.note else (),
    )


def _timed(state: State, now: Standing) -> Standing:
    """The standing after the last trial: one job times the base and every tried variant."""
    job = state.book.time([(), *(trial.changes for trial in now.trials)])
    times = state.found(job)
    if times is None:
        return replace(now, jobs=(job,))
    trials = tuple(replace(t, latency=times.latency[state.book.run(t.changes).id]) for t in now.trials)
    return replace(now, trials=trials, times=times)


def _missing(state: State, jobs: tuple[Job, ...]) -> tuple[Job, ...]:
    return tuple(job for job in jobs if state.found(job) is None)


def _arm(state: State, runs: Sequence[Job]) -> Arm:
    """The finished ones among some runs."""
    found = [measurement for job in runs if (measurement := state.found(job)) is not None]
    return tuple(Run(measurement.ap, measurement.left_out) for measurement in found if measurement.ap is not None)


def arms(state: State, now: Standing) -> tuple[Arm, ...]:
    """The runs of the judged candidates."""
    return tuple(
        _arm(state, [state.book.run(trial.changes, n) for n in range(len(trial.ap_runs))]) for trial in now.trials
    )


def remarks(state: State) -> tuple[str, ...]:
    """What the user should know by now, one line each: what drop can be told, then every verdict."""
    now = standing(state)
    lines = [_resolution(state, now.base_runs[:PILOT], ())] if len(now.base_runs) >= PILOT else []
    for trial, arm in zip(now.trials, arms(state, now), strict=True):
        lines += [f"stage {trial.stage} {trial.verdict}: {note}" for note in trial.notes]
        if trial is now.trials[0]:
            lines.append(_resolution(state, now.base_runs[: len(arm)], (arm,)))
    return tuple(filter(None, lines))


def _resolution(state: State, base: Arm, others: tuple[Arm, ...]) -> str:
    """The loss that can be told from none, after some runs; empty if it is not known."""
    terms = state.terms
    told = smallest_margin(state.rule, base, others, terms.runs)
    if told is None:
        return ""
    if others:
        line = f"after the first candidate: a loss of about {100 * told:.1f} points can be told from none"
    else:
        size = f"{100 * told:.1f} points, perhaps a smaller one,"
        line = f"after {len(base)} runs of the base: a loss of {size} can be told from none"
    if told <= terms.margin:
        return line
    return (
        f"{line}, more than the margin of {100 * terms.margin:g}: harmless changes may end inconclusive; allow a "
        "larger `margin`, or give more validation images"
    )
