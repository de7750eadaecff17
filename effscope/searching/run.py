"""Run a search in a folder: open the folder, run all jobs, write the smaller model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from effscope.config import SearchConfig, deciding, seconds_of, targets_of
from effscope.errors import EffscopeError, NegativeAnswer, counted
from effscope.files import write_bytes
from effscope.layouts.expand import expand
from effscope.nn.build import build
from effscope.nn.precision import pick_device
from effscope.progress import Parts, Progress, Say, silent, unsaid
from effscope.results import Latency, RankResult, SearchResult, plain
from effscope.searching.budget import fit, given_up
from effscope.searching.changes import count_all
from effscope.searching.context import Context
from effscope.searching.drive import Policy, drive, replay
from effscope.searching.engines.local import LocalEngine
from effscope.searching.execute import execute
from effscope.searching.jobs import Job, JobBook, Measurement, job_book
from effscope.searching.journal import JOURNAL, Journal
from effscope.searching.latency_table import read_table
from effscope.searching.outcome import BASE_WEIGHTS, hand_over, result_of
from effscope.searching.plan import Plan, longest, other_classes, plan_line
from effscope.searching.policies.greedy import greedy
from effscope.searching.policies.library import library
from effscope.searching.policies.state import Stand, Standing, State, folded, remarks
from effscope.searching.policies.target import LEVELS, target
from effscope.searching.rules import Terms
from effscope.searching.work import RANKS, TRAINING, WEIGHTS
from effscope.training.processes import processes
from effscope.training.run import MEASURING
from effscope.training.speed import training_images_per_s
from effscope.training.threads import limited, pick_threads
from effscope.workspace import RUN_WEIGHTS, WORK, Identity, Workspace, open_workspace

POLICIES: dict[str, Stand] = {"greedy": greedy, "target": target, "library": library}
"""`SearchConfig.policy` -> what decides what a search does next."""

DOING = {
    "base": "starting", "rank": "ranking the stages", "fit": "fitting", "start": "AP at once", "run": "short training",
    "time": "measuring latency", "pieces": "measuring parts", "pace": "measuring latency", "finish": "training",
    "baselines": "smaller images and int8",
}  # fmt: skip
"""Kind of job -> what it does, for the progress."""

SEARCH_RESULT = "search.json"

Publish = Callable[[SearchResult, Path], SearchResult]
"""(result, folder) -> the result with the files that were written for it."""


def unpublished(result: SearchResult, _: Path) -> SearchResult:
    """A `Publish` that writes nothing."""
    return result


def search(
    config: SearchConfig,
    folder: Path,
    report: Progress = silent,
    say: Say = unsaid,
    publish: Publish = unpublished,
) -> SearchResult:
    """Run a search, or resume the search in the folder.

    Args:
        config: settings of the search. The folder stores them and refuses other settings.
        folder: for the journal, the artefacts of the jobs, and at the end the chosen model.
        report: called with the progress, computed as if every stage is tried.
        say: called with the plan and faults of the data.
        publish: writes the result into the folder, before another process may use it.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: bad input, the folder holds another search or is in use, or a training fails.
    """
    device = str(pick_device(config.device))
    context = Context(config, torch.get_num_threads(), device, report, say)
    if context.runtime == "onnx" and device != "cpu":
        raise EffscopeError("`runtime` onnx runs on the CPU: set `device` to cpu or `runtime` to torch")
    changes = context.changes
    table = None if config.latency_table is None else read_table(Path(config.latency_table), changes)
    digests = context.digests
    inputs = {"the layout": digests["layout"], "the starting weights": digests["weights"]}
    inputs["the classes of the weights"] = digests["classes"]
    inputs |= {f"the {split} images": digests[split] for split in ("train", "val")}
    inputs |= {"the model to compare with": context.rival_digest} if config.against else {}
    inputs |= {} if table is None else {"the table of latencies": plain(table)}
    identity = Identity("search", {**deciding(config), "device": device}, inputs)
    with open_workspace(folder, identity, say) as workspace:
        result = finished(workspace)
        if result is not None:
            say(f"{folder} holds this search and it is finished")
        elif not workspace.path(JOURNAL).exists() and (line := other_classes(context)):
            say(line)
        context = context.on(workspace.settled("threads", lambda: _threads(context)))
        context = context.within(**workspace.settled("budget", lambda: _budget(context)))
        running = _Search(context, workspace, table)
        if result is None:
            result = publish(running.result(), folder)
        running.tidy()
        return result


def finished(workspace: Workspace) -> SearchResult | None:
    """The result of the search in this folder; None if it is not finished, or if its jobs' files can make it again.

    Raises:
        EffscopeError: a result that cannot be read, without the files of its jobs.
    """
    file = workspace.path(SEARCH_RESULT)
    if not file.exists():
        return None
    try:
        found = SearchResult.load(file)
    except EffscopeError as error:
        if workspace.has_work:
            return None
        raise EffscopeError(f"{error}: delete {workspace.folder} to search again") from None
    return None if "weights" in found.files and not workspace.path(RUN_WEIGHTS).exists() else found


def _threads(context: Context) -> int:
    config, group = context.config, processes(context.device)
    context.progress(0.0, MEASURING)
    return pick_threads(build(expand(context.layout)), config.imgsz, config.batch, group, context.say)


def _budget(context: Context) -> dict[str, int]:
    """Settings that the budget changes."""
    config = context.config
    if config.budget is None:
        return {}
    speed = _images_per_s(context)

    def seconds(tried: SearchConfig) -> float:
        area = (tried.imgsz / config.imgsz) ** 2
        return longest(Plan.of(context.within(runs=tried.runs, epochs=tried.epochs)), speed / area)

    changed = fit(config, seconds_of("budget", config.budget), seconds)
    context.say(f"budget {config.budget}: {given_up(config, changed) or 'nothing is given up'}")
    return changed


def _images_per_s(context: Context) -> float:
    config, group = context.config, processes(context.device)
    context.progress(0.0, MEASURING)
    with limited(context.threads):
        return training_images_per_s(build(expand(context.layout)), config.imgsz, config.batch, group)


@dataclass(frozen=True)
class _Search:
    context: Context
    workspace: Workspace
    table: Mapping[str, Latency] | None

    @property
    def stand(self) -> Stand:
        """The policy of this search."""
        return POLICIES[self.context.config.policy]

    @property
    def policy(self) -> Policy[State]:
        """The policy as what `drive` needs."""
        stand = self.stand
        return Policy(
            lambda state: stand(state).jobs, partial(folded, stand), lambda state: remarks(state, stand(state))
        )

    def result(self) -> SearchResult:
        """Drive the search to its end."""
        context, journal = self.context, Journal(self.workspace.path(JOURNAL))
        done = journal.read()
        state = self._replayed(journal, done)
        if self.stand(state).jobs:
            self._announce(len(done))
        state = drive(self.policy, state, LocalEngine(self._worker(done)), journal, self._kept, self.context.say)
        now = self.stand(state)
        if not now.learned:
            raise self._not_learned(state, now)
        ranks = RankResult.load(self.workspace.artefact(state.book.rank().id, RANKS))
        files, notes = hand_over(state, now, context.layout, self.workspace, WEIGHTS, context.base_epochs)
        return result_of(
            state, now, context.config, context.given.name, context.layout, ranks, context.digests, files, notes,
            context.base_epochs,
        )  # fmt: skip

    def tidy(self) -> None:
        """Delete the files of the jobs when the result is written, unless the user keeps them. A stop in between loses
        nothing, and the next run deletes the rest."""
        space, config = self.workspace, self.context.config
        if config.keep_work or not space.has_work or not space.path(SEARCH_RESULT).exists():
            return
        trained = space.artefact(self._book.base().id, WEIGHTS)
        if self.context.base_epochs and trained.exists() and not space.path(BASE_WEIGHTS).exists():
            write_bytes(space.path(BASE_WEIGHTS), trained.read_bytes())  # a folder of an older version has none
        freed = space.clear()
        self.context.say(
            f"removed {space.folder / WORK} ({freed / 1e6:.0f} MB: weights and detections of every job); `keep_work` "
            "keeps it"
        )

    def _replayed(self, journal: Journal, done: Sequence[Measurement]) -> State:
        """The search after the measurements of its journal."""
        try:
            state = replay(self.policy, self._start(), done)
        except EffscopeError as error:
            raise EffscopeError(f"{journal.path}: {error}: delete the folder to start over") from None
        lost = next((found.job for found in done if self.workspace.kept(found.job) is None), None)
        if lost is not None:
            raise EffscopeError(
                f"files of the job {lost} in {self.workspace.folder / WORK} are lost or damaged: delete "
                f"{journal.path}, and the search makes them again"
            )
        return state

    def _worker(self, done: Sequence[Measurement]) -> Callable[[Job], Measurement]:
        """A function that runs a job in this process. Finished jobs count in the progress."""
        plan = Plan.of(self.context)
        parts = Parts(self.context.progress, plan.whole)
        for measurement in done:
            parts.part(plan.weight(measurement.kind), "")

        def work(job: Job) -> Measurement:
            progress = parts.part(plan.weight(job.kind), "")
            progress(0.0, f"{job.title}: {DOING[job.kind]}")
            return execute(job, self.context, self.workspace, progress, self.context.say)

        return work

    def _start(self) -> State:
        """The search before its first measurement."""
        c = self.context.config
        changes = self.context.changes
        costs = count_all(self.context.yours, self.context.layout, changes, c.imgsz)
        terms = Terms(c.margin, c.runs, len(LEVELS) if c.policy == "target" else 1)
        return State(
            self._book, costs, changes, c.rule, terms, c.learned_ap, c.order, targets_of(c.target), c.finish_epochs > 0,
            self.table,
        )  # fmt: skip

    @property
    def _book(self) -> JobBook:
        return job_book(self.context.config, self.context.inputs, self.context.rival_digest)

    def _announce(self, done: int) -> None:
        """Say how far the search is, and the plan."""
        plan, say = Plan.of(self.context), self.context.say
        if done:
            say(f"continuing: {done} of at most {counted(plan.jobs, 'job')} are done")
        say(plan_line(self.context, plan, _images_per_s(self.context), self.workspace.folder))

    def _kept(self, job: Job) -> Measurement | None:
        facts = self.workspace.kept(job.id)
        try:
            found = Measurement.from_dict(facts)
        except EffscopeError:  # no record, or a damaged one
            return None
        if found.job != job.id:
            return None
        self.workspace.artefact(job.id, TRAINING).unlink(missing_ok=True)
        return found

    def _not_learned(self, state: State, now: Standing) -> NegativeAnswer:
        base, source = now.base, self.context.splits[1].source
        ap = base.ap if base is not None and base.ap is not None else 0.0
        if base is not None and base.fitted_ap is not None:
            return NegativeAnswer(
                f"your model has AP {100 * (base.given_ap or 0.0):.1f} on {source}, with the light class head "
                f"{100 * ap:.1f}; at least {100 * state.learned_ap:g} is needed to judge a change (`learned_ap`): set "
                "`head` to keep, or train your model longer"
            )
        return NegativeAnswer(
            f"the base has not learned: AP {100 * ap:.1f} on {source}, at least {100 * state.learned_ap:g} is needed "
            "to judge a change (`learned_ap`); train it longer (`base_epochs`)"
        )
