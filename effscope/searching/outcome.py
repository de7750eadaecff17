"""The end of a search: write the chosen model into the run's folder, and make the result. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from effscope.config import SearchConfig
from effscope.errors import EffscopeError
from effscope.files import write_bytes, write_text
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.results import Change, GivenModel, Latency, RankResult, SearchResult, origin
from effscope.searching.changes import layout_of
from effscope.searching.jobs import GIVEN
from effscope.searching.journal import JOURNAL
from effscope.searching.policies.greedy import Standing, State, arms, standing
from effscope.searching.rules import smallest_margin
from effscope.spec.layout import Layout
from effscope.workspace import RUN_WEIGHTS, Workspace

LAYOUT = "model.yaml"


def hand_over(state: State, base: Layout, workspace: Workspace, weights: str) -> tuple[dict[str, str], list[str]]:
    """Write weights and YAML of the chosen model into the run's folder.

    Args:
        state: final state of a search.
        base: layout of the base.
        workspace: folder of the run.
        weights: suffix of weight files among the artefacts.

    Returns:
        Name of the content -> path of the file; and notes.
    """
    changes = standing(state).accepted
    write_bytes(workspace.path(RUN_WEIGHTS), workspace.artefact(state.book.run(changes).id, weights).read_bytes())
    names, notes = {"weights": RUN_WEIGHTS, "journal": JOURNAL}, []
    if not changes:
        notes.append("nothing was accepted: keep your model; model.safetensors is the base after the short training")
        return {what: str(workspace.path(name)) for what, name in names.items()}, notes
    try:
        write_text(workspace.path(LAYOUT), to_yaml(layout_of(base, changes)))
        names["yaml"] = LAYOUT
    except EffscopeError as error:
        notes.append(f"no model.yaml: {error}")
    return {what: str(workspace.path(name)) for what, name in names.items()}, notes


def result_of(
    state: State,
    config: SearchConfig,
    name: str,
    layout: Layout,
    ranks: RankResult,
    digests: Mapping[str, str],
    files: Mapping[str, str],
    notes: list[str],
) -> SearchResult:
    """The result of a finished search.

    Args:
        state: final state.
        config: settings of the search.
        name: name of the base, for tables.
        layout: layout of the base.
        ranks: ranks of the base's stages.
        digests: hashes of the "train" and "val" splits and of the starting "weights".
        files: files from `hand_over`.
        notes: notes from `hand_over`.
    """
    now = standing(state)
    assert now.base is not None
    assert now.base.ap is not None
    assert now.times is not None
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
        origin=origin(
            config,
            layout_of(layout, now.accepted).digest(),
            {split: digests[split] for split in ("train", "val")},
            (config.seed,),
            weights=digests["weights"],
        ),
        base_latency=_latency(state, now, ()),
        runtime=now.times.runtime,
        threads=now.times.threads,
        base_runs=tuple(run.ap for run in now.base_runs),
        resolvable=smallest_margin(state.rule, now.base_runs, arms(state, now), state.terms.runs),
        given=_given(state, now),
    )


def _given(state: State, now: Standing) -> GivenModel:
    assert now.base is not None
    assert now.times is not None
    cost, base = state.costs.given, now.base
    return GivenModel(cost.params, cost.flops, base.given_ap, base.fitted_ap, now.times.latency[GIVEN])


def _saved(state: State, now: Standing) -> dict[str, float]:
    """Fraction of the given model's parameters, FLOPs and latency that the chosen model saves."""
    chosen, given, time = state.costs.of(now.accepted), _given(state, now), _latency(state, now, now.accepted)
    saved = {
        "params": 1 - chosen.params / given.params,
        "flops": 1 - chosen.flops / given.flops,
        "latency": 1 - time.ms / given.latency.ms,
    }
    if time.all_ms is not None and given.latency.all_ms is not None:
        saved["latency_all"] = 1 - time.all_ms / given.latency.all_ms
    return saved


def _latency(state: State, now: Standing, changes: tuple[Change, ...]) -> Latency:
    assert now.times is not None
    return now.times.latency[state.book.run(changes).id]
