"""What a search gained and lost against the user's model: a table, and sentences."""

from __future__ import annotations

from effscope.reporting.page import Table, Text, points, signed
from effscope.reporting.pages.baselines import beaten
from effscope.reporting.plots.search import about, points_word
from effscope.results import ACCEPTED, SearchResult, Trial, spelled, stage_name

SAME = 0.02
"""Share of the time below which two models are as fast."""

LEAST_SAVED = 0.01
"""Share of the parameters from which a model counts as smaller."""


def verdict(result: SearchResult) -> Text:
    """What was kept and why the search stopped; what it means; how sure it is."""
    time = f"wall time {result.seconds / 60:.1f} min"
    if not result.base_runs:
        n = len(result.library)
        return Text((f"{n} change{'s' * (n != 1)}, each alone; {time}", *_agreement(result), *result.notes))
    first = beaten(result)
    lines = (*((first,) if first else ()), in_words(result), f"kept: {_kept(result)}", f"stopped: {result.stop_reason}")
    return Text((*lines, *proof(result), *_finished(result), *_agreement(result), *result.notes, time))


def in_words(result: SearchResult) -> str:
    """Whether the chosen model is smaller than the user's, and whether it is faster, in one sentence."""
    changed = "your model with the light head" if _has_light_head(result) else "your model"
    if not result.accepted:
        return f"no change is accepted: the chosen model is {changed}"
    size = _word(result.saved["params"], LEAST_SAVED, ("smaller than", "larger than", "as large as"))
    if "latency" not in result.saved:
        return f"the chosen model is {size} your model; its time was not measured"
    speed = _word(result.saved["latency"], SAME, ("faster", "slower", "not faster"))
    link = "and" if (result.saved["params"] > 0) == (speed == "faster") else "but"
    return f"the chosen model is {size} your model, {link} {speed}"


def _has_light_head(result: SearchResult) -> bool:
    given = result.given
    return given is not None and given.params != result.base_params


def _word(saved: float, least: float, words: tuple[str, str, str]) -> str:
    return words[2] if abs(saved) < least else words[0] if saved > 0 else words[1]


def gains_table(result: SearchResult) -> Table | None:
    """The chosen model against the user's: AP, parameters, FLOPs, time; None if they are the same."""
    given, last = result.given, chosen_trial(result)
    if given is None or not result.base_runs or not (last or _has_light_head(result)):
        return None
    rows = [
        ("AP, same training", *(("-", points(result.base_ap), "-", "") if last is None else (
            points(last.base_ap), points(last.ap_mean), signed(100 * last.delta), interval(last.ci)))),
        _cost_row("parameters", result.saved["params"], given.params, 1e6, "M"),
        _cost_row("FLOPs", result.saved["flops"], given.flops, 1e9, "G"),
    ]  # fmt: skip
    if given.ap is not None:
        change = signed(100 * (chosen_ap(result) - given.ap))
        rows.insert(0, ("AP, as given", points(given.ap), points(chosen_ap(result)), change, ""))
    before, threads = given.latency, result.threads
    if before is not None and "latency" in result.saved:
        one = "ms, one thread" if before.all_ms is not None else "ms"
        rows.append(_cost_row(one, result.saved["latency"], before.ms, 1, ""))
    if before is not None and before.all_ms is not None and threads > 1 and "latency_all" in result.saved:
        rows.append(_cost_row(f"ms, {threads} threads", result.saved["latency_all"], before.all_ms, 1, ""))
    columns = ("", "your model", "chosen", "change", "95 % interval")
    return Table(f"search on {about(result)}", columns, tuple(rows), frozenset({""}), _gain_notes(result))


def _cost_row(name: str, saved: float, before: float, unit: float, word: str) -> tuple[str, ...]:
    digits = 2 if unit > 1 else 1
    cells = (f"{value / unit:.{digits}f} {word}".strip() for value in (before, before * (1 - saved)))
    return (name, *cells, f"{signed(-100 * saved)} %", "")


def _gain_notes(result: SearchResult) -> tuple[str, ...]:
    """What the AP of both columns is, and what measured the time."""
    given, runs = result.given, chosen_runs(result)
    assert given is not None
    base = "your model with the light head" if _has_light_head(result) else "your model"
    mean = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
    notes = [f"AP x 100; 'same training': {base}, and the chosen model, after the same training{mean}"]
    if len(runs) > 1 and (result.finish is None or not result.finish.kept):
        notes.append(f"the written weights are those of the first run: AP {points(runs[0])}")
    if given.latency is not None:
        notes.append(f"ms: one image of {result.imgsz} px in {result.runtime or 'torch'}, float32")
    return tuple(notes)


def interval(ci: tuple[float, float] | None) -> str:
    """An interval of AP in points: "-0.5 to +0.5"."""
    return "" if ci is None else f"{signed(100 * ci[0])} to {signed(100 * ci[1])}"


def chosen_trial(result: SearchResult) -> Trial | None:
    """The trial of the chosen model; None if it is the base."""
    return next((trial for trial in reversed(result.trials) if trial.verdict == ACCEPTED), None)


def chosen_ap(result: SearchResult) -> float:
    """Mean AP of the chosen model after the short training."""
    accepted = [trial.ap_mean for trial in result.trials if trial.verdict == ACCEPTED]
    return accepted[-1] if accepted else result.base_ap


def chosen_runs(result: SearchResult) -> tuple[float, ...]:
    """AP of each short training of the chosen model."""
    accepted = [trial.ap_runs for trial in result.trials if trial.verdict == ACCEPTED]
    return accepted[-1] if accepted else result.base_runs


def _kept(result: SearchResult) -> str:
    """The changes of the chosen model; with one move, its stages."""
    if not result.accepted:
        return "none of the changes"
    if len({change.move for change in result.accepted}) == 1 and not result.target:
        return f"stages {', '.join(stage_name(change.stage) for change in result.accepted)}"
    return spelled(result.accepted)


def proof(result: SearchResult) -> tuple[str, ...]:
    """What the runs prove about the chosen model, and how small a loss they can tell from none."""
    if result.rule != "noninferior":
        return ("judged by one run each: another seed may give another verdict",) if result.trials else ()
    trial, lines = chosen_trial(result), []
    if trial is not None and trial.ci is not None:
        lines.append(
            f"proved with 95 % confidence: the changed stages cost less than {points_word(result.margin)}, after the "
            f"same training as the base ({interval(trial.ci)})"
        )
    if result.resolvable is not None:
        lines.append(f"these runs on these images can tell a loss of {100 * result.resolvable:.1f} points from none")
    return tuple(lines)


def _finished(result: SearchResult) -> tuple[str, ...]:
    """What the training at the end made of the chosen model."""
    end, given = result.finish, result.given
    if end is None:
        return ()
    other = "your model as given" if given is not None and given.ap is not None else "the base"
    more = f"{end.epochs} more epoch{'s' * (end.epochs > 1)}"
    written = "the written weights" if end.kept else "less than before: the weights of the first run are written"
    return (
        f"after {more}: AP {100 * end.ap:.1f} ({written}), {other} has {100 * end.against:.1f}: {end.verdict}, "
        f"{end.note}",
    )


def _true_ap(result: SearchResult) -> tuple[str, ...]:
    """In a search without labels, what the labels say that the images have after all."""
    known = {one.name: one.true_ap for one in result.baselines if one.true_ap is not None}
    chosen, given = known.get("the chosen model"), known.get("your model")
    if chosen is None or not given:
        return ()
    return (
        f"by the labels that the validation images have after all: AP {100 * chosen:.1f}, your model "
        f"{100 * given:.1f} ({100 * chosen / given:.0f} % kept)",
    )


def _agreement(result: SearchResult) -> tuple[str, ...]:
    """What AP is in a search without labels."""
    config = result.origin.config
    if config is None or config.labels != "none":
        return ()
    return (
        "no labels were used: AP is agreement with your model, whose detections count as the truth",
        *_true_ap(result),
    )
