"""The end of a search: write the chosen model into the run's folder, and make the result. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from effscope.config import SearchConfig
from effscope.errors import EffscopeError
from effscope.files import write_bytes, write_text
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.results import ACCEPTED, Change, Finish, GivenModel, Latency, RankResult, SearchResult, origin
from effscope.searching.changes import layout_of
from effscope.searching.evidence import Run, against_fixed
from effscope.searching.front import front
from effscope.searching.jobs import GIVEN, Measurement
from effscope.searching.journal import JOURNAL
from effscope.searching.policies.library import WHOLE, piece_times, rows
from effscope.searching.policies.state import Standing, State, arms, better_finished
from effscope.searching.rules import COMPARED, compared, smallest_margin
from effscope.spec.layout import Layout
from effscope.workspace import RUN_WEIGHTS, Workspace

LAYOUT = "model.yaml"

BASE_WEIGHTS = "base.safetensors"
"""Weights of a base that the search trained."""


def hand_over(
    state: State, now: Standing, base: Layout, workspace: Workspace, weights: str, base_epochs: int
) -> tuple[dict[str, str], list[str]]:
    """Write weights and YAML of the chosen model into the run's folder, and the weights of a base that was trained.

    Args:
        state, now: the end of a search.
        base: layout of the base.
        workspace: folder of the run.
        weights: suffix of weight files among the artefacts.
        base_epochs: epochs that the search trained the base; 0 if it did not.

    Returns:
        Name of the content -> path of the file; and notes.
    """
    names, notes = {"journal": JOURNAL}, list[str]()
    if base_epochs:
        write_bytes(workspace.path(BASE_WEIGHTS), workspace.artefact(state.book.base().id, weights).read_bytes())
        names["base"] = BASE_WEIGHTS
    if now.times is not None:
        made, found = _chosen(state, now, base, workspace, weights)
        names, notes = made | names, found
    return {what: str(workspace.path(name)) for what, name in names.items()}, notes


def _chosen(
    state: State, now: Standing, base: Layout, workspace: Workspace, weights: str
) -> tuple[dict[str, str], list[str]]:
    """Write the chosen model. Returns names of contents -> names of files, and notes."""
    changes = now.accepted
    made = state.book.finish(changes) if better_finished(state, now) else state.book.run(changes)
    write_bytes(workspace.path(RUN_WEIGHTS), workspace.artefact(made.id, weights).read_bytes())
    if not changes:
        note = "nothing was accepted: keep your model; model.safetensors is the base after the short training"
        return {"weights": RUN_WEIGHTS}, [note]
    try:
        write_text(workspace.path(LAYOUT), to_yaml(layout_of(base, changes)))
    except EffscopeError as error:
        return {"weights": RUN_WEIGHTS}, [f"no model.yaml: {error}"]
    return {"weights": RUN_WEIGHTS, "yaml": LAYOUT}, []


def result_of(
    state: State,
    now: Standing,
    config: SearchConfig,
    name: str,
    layout: Layout,
    ranks: RankResult,
    digests: Mapping[str, str],
    files: Mapping[str, str],
    notes: list[str],
    base_epochs: int,
) -> SearchResult:
    """The result of a finished search.

    Args:
        state, now, config: the end of the search, and its settings.
        name, layout: name of the base, for tables, and its layout.
        ranks: ranks of the base's stages.
        digests: hashes of the "train" and "val" splits and of the starting "weights".
        files, notes: from `hand_over`.
        base_epochs: epochs that the base was trained.
    """
    assert now.base is not None and now.base.ap is not None
    runtime, threads = _timed_by(state, now)
    data, chosen = {split: digests[split] for split in ("train", "val")}, layout_of(layout, now.accepted).digest()
    made = origin(config, chosen, data, (config.seed,), weights=digests["weights"])
    return SearchResult(
        base=name,
        base_ap=now.base_ap,
        base_ap_start=now.base.ap,
        base_params=state.costs.base.params,
        base_flops=state.costs.base.flops,
        order=now.order,
        rule=state.rule,
        margin=state.terms.margin,
        imgsz=config.imgsz,
        trials=now.trials,
        accepted=now.accepted,
        stop_reason=now.stop_reason,
        saved=_saved(state, now),
        files=dict(files),
        seconds=sum(measurement.seconds for measurement in state.done.values()),
        notes=(*(note for measurement in state.done.values() for note in measurement.notes), *notes),
        ranks=ranks,
        origin=made,
        base_latency=_latency(state, now, ()),
        runtime=runtime,
        threads=threads,
        base_runs=tuple(run.ap for run in now.base_runs),
        resolvable=smallest_margin(state.rule, now.base_runs, arms(state, now), state.terms),
        given=_given(state, now),
        target=dict(state.targets),
        library=rows(state),
        library_ms=piece_times(state).get(WHOLE),
        finish=finish(state, now, config.finish_epochs),
        front=front(state, now),
        baselines=() if now.baselines is None else now.baselines.baselines,
        base_epochs=base_epochs,
        given_ci=_against_given(state, now),
    )


def _against_given(state: State, now: Standing) -> tuple[float, float] | None:
    """Interval of AP of the chosen model's runs minus AP of the user's model as given; None if it cannot be known."""
    assert now.base is not None
    if now.base.given_ap is None or not now.base_runs:
        return None
    runs = next((len(trial.ap_runs) for trial in reversed(now.trials) if trial.verdict == ACCEPTED), len(now.base_runs))
    chosen = state.arm(now.accepted, runs)
    return against_fixed(Run(now.base.given_ap, now.base.given_left_out), chosen).interval(COMPARED)


def finish(state: State, now: Standing, epochs: int) -> Finish | None:
    """The verdict on the finished model, against the user's as given; against the base if that was trained here."""
    if now.finished is None or now.base is None:
        return None
    ap, given = now.base.ap if now.base.given_ap is None else now.base.given_ap, now.base.given_left_out
    before, after = Run(ap or 0.0, given or now.base.left_out), Run(now.finished.ap or 0.0, now.finished.left_out)
    verdict, _ = compared((before,), (after,), state.terms.margin)
    ci = verdict.ci or (verdict.delta, verdict.delta)
    kept = better_finished(state, now)
    return Finish(epochs, after.ap, before.ap, verdict.delta, ci, verdict.word, verdict.note, kept)


def _times(state: State, now: Standing) -> Measurement | None:
    """What measured the latencies: of the candidates, or of the library's pieces."""
    return now.times or state.found(state.book.pieces(state.changes))


def _timed_by(state: State, now: Standing) -> tuple[str, int]:
    """What measured the latencies, with how many threads."""
    times = _times(state, now)
    return ("", 1) if times is None else (times.runtime, times.threads)


def _given(state: State, now: Standing) -> GivenModel:
    assert now.base is not None
    cost, base, times = state.costs.given, now.base, _times(state, now)
    latency = None if times is None else times.latency.get(GIVEN, times.latency.get(WHOLE))
    return GivenModel(cost.params, cost.flops, base.given_ap, base.fitted_ap, latency)


def _saved(state: State, now: Standing) -> dict[str, float]:
    """Fraction of the given model's parameters, FLOPs and latency that the chosen model saves."""
    chosen, given, time = state.costs.of(now.accepted), _given(state, now), _latency(state, now, now.accepted)
    saved = {"params": 1 - chosen.params / given.params, "flops": 1 - chosen.flops / given.flops}
    if time is None or given.latency is None:
        return saved
    saved["latency"] = 1 - time.ms / given.latency.ms
    if time.all_ms is not None and given.latency.all_ms is not None:
        saved["latency_all"] = 1 - time.all_ms / given.latency.all_ms
    return saved


def _latency(state: State, now: Standing, changes: tuple[Change, ...]) -> Latency | None:
    return None if now.times is None else now.times.latency[state.book.run(changes).id]
