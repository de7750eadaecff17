"""A whole search in a folder: ask, answer, write it down, go on from there after a stop, hand over the result."""

from __future__ import annotations

import time
from pathlib import Path

from effscope.checkpoint.write import write_safetensors
from effscope.config import SearchConfig, to_dict
from effscope.costing.model import cost
from effscope.detect.bank import Banks
from effscope.errors import EffscopeError
from effscope.files import make_folder, write_text
from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
from effscope.models.file_metadata import metadata
from effscope.models.open import RUN_WEIGHTS
from effscope.models.opened import Model
from effscope.nn.build import digest
from effscope.nn.precision import pick_device
from effscope.progress import Parts, Progress, Say, unsaid
from effscope.results import Change, SearchResult, origin
from effscope.searching.evaluate import WORK, LocalEvaluator
from effscope.searching.greedy import Question, State, next_trial, replay, step
from effscope.searching.journal import Event, Journal
from effscope.timing.measure import forward_ms

JOURNAL = "journal.jsonl"


def _opened(journal: Journal, header: Event) -> list[Event]:
    """Events so far. Raises EffscopeError when the folder holds a search with other settings."""
    events = journal.read()
    if not events:
        journal.append(header)
        return []
    changed = [key for key in header if header[key] != events[0].get(key)]
    if changed and len(events) == 1 and not (journal.path.parent / WORK).exists():
        journal.path.unlink()  # nothing was done under the old settings
        return _opened(journal, header)
    if changed:
        old, new = events[0].get("config", {}), header["config"]
        keys = [key for key in new if new[key] != old.get(key)] or changed
        raise EffscopeError(
            f"{journal.path.parent} holds another search ({', '.join(keys)} differ): choose another --out or delete it"
        )
    return events[1:]


def _answered(journal: Journal, state: State, event: Event, began: float) -> State:
    event = {**event, "seconds": round(time.monotonic() - began, 1)}
    journal.append(event)
    return step(state, event)


def search(
    config: SearchConfig, given: Model, data: Banks, folder: Path, report: Progress, say: Say = unsaid
) -> SearchResult:
    """Run the search, or go on with the one the folder holds.

    Args:
        config: the search; a folder remembers it and refuses another.
        given: the base as opened.
        data: both splits, decoded.
        folder: gets the journal, the work files, the chosen model.
        report: progress of the whole, as if every stage had to be tried.
        say: told the plan.

    Raises:
        NegativeAnswer: the base has not learned.
        EffscopeError: the folder holds another search, or a training fails.
    """
    pick_device(config.device)
    make_folder(folder)
    evaluator = LocalEvaluator(config, given, data, folder, Parts(report, 1.0), say)
    evaluator.parts.total = evaluator.weight()
    journal = Journal(folder / JOURNAL)
    if (folder / RUN_WEIGHTS).exists() and not journal.path.exists():
        raise EffscopeError(f"{folder} holds the model of another run: choose another --out")
    header = {
        "event": "start", "config": to_dict(config), "layout": evaluator.layout.digest(),
        "data": f"{data.train.dataset.digest}+{data.val.dataset.digest}", "weights": digest(given.state or {}),
    }  # fmt: skip
    state = replay(State(config.move, config.rule, config.margin), _opened(journal, header))
    if not state.stop_reason:
        say(evaluator.plan())
    if state.base is None:
        began = time.monotonic()
        state = _answered(journal, state, evaluator.base(), began)
    while (question := next_trial(state)) is not None:
        began = time.monotonic()
        state = _answered(journal, state, evaluator.trial(question), began)
    return _concluded(evaluator, state, journal, folder)


def _concluded(evaluator: LocalEvaluator, state: State, journal: Journal, folder: Path) -> SearchResult:
    config, base = evaluator.config, state.base
    assert base is not None
    layout, network = evaluator.layout, evaluator.finished("base_after", evaluator.layout)
    networks = {"base": network}
    if state.accepted:
        *before, last = state.accepted
        layout = evaluator.candidate(Question(last, tuple(before)))
        networks["chosen"] = evaluator.finished(f"candidate_{last}", layout)
    chosen = networks.get("chosen", network)
    facts = metadata(layout, evaluator.data.train.dataset.classes, config.imgsz)
    write_safetensors(folder / RUN_WEIGHTS, chosen.state_dict(), facts)
    files = {"weights": str(folder / RUN_WEIGHTS), "journal": str(journal.path)}
    events = journal.read()
    notes = [note for event in events for note in event.get("notes", ())]
    if not state.accepted:
        notes.append("nothing was accepted: keep your model; model.safetensors is the base after the short training")
    try:
        write_text(folder / "model.yaml", to_yaml(layout))
        files["yaml"] = str(folder / "model.yaml")
    except EffscopeError as e:
        notes.append(f"no model.yaml: {e}")
    times = next((e["ms"] for e in events if e["event"] == "latency"), None)
    if times is None:
        times = forward_ms(networks, config.imgsz, config.device)
        journal.append({"event": "latency", "ms": times})
    costs = cost(layout, config.imgsz)
    digests = {"train": evaluator.data.train.dataset.digest, "val": evaluator.data.val.dataset.digest}
    saved = {
        "params": 1 - costs.params_one_head / base.params,
        "flops": 1 - costs.flops / base.flops,
        "latency": 1 - times.get("chosen", times["base"]) / times["base"],
    }
    return SearchResult(
        base=evaluator.given.name,
        base_ap=base.ap,
        base_ap_start=base.ap_start,
        base_params=base.params,
        base_flops=base.flops,
        order=base.order,
        rule=config.rule,
        margin=config.margin,
        imgsz=config.imgsz,
        trials=state.trials,
        accepted=tuple(Change(stage, config.move) for stage in state.accepted),
        stop_reason=state.stop_reason,
        saved=saved,
        files=files,
        seconds=sum(event.get("seconds", 0.0) for event in events),
        notes=tuple(notes),
        ranks=evaluator.ranks(),
        origin=origin(config, layout.digest(), digests, (config.seed,), digest(evaluator.given.state or {})),
    )
