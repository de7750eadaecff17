"""What a search gained and lost against the user's model: a table, and sentences."""

from __future__ import annotations

from effscope.config.search import LESS
from effscope.errors import counted
from effscope.reporting.page import Table, Text, points, signed
from effscope.reporting.pages.baselines import CHOSEN, GIVEN, beaten, without_labels
from effscope.reporting.plots.search import about, points_word
from effscope.results import ACCEPTED, SearchResult, Trial, spelled, stage_name

SAME = 0.02
"""Share of the time below which two models are as fast."""

SPEEDS = ("faster", "slower", "not faster")

BUSY = 0.5
"""Spread of times / their median above which they tell nothing."""

ROUNDING = 1e-9

LEAST_SAVED = 0.01
"""Share of the parameters from which a model counts as smaller."""


def verdict(result: SearchResult) -> Text:
    """What was kept and why the search stopped; what it means; how sure it is."""
    time = f"wall time {result.seconds / 60:.1f} min"
    if not result.base_runs:
        changes = counted(len(result.library), "change")
        return Text((f"{changes}, each alone; {time}", *_agreement(result), *result.notes))
    first = beaten(result)
    lines = (
        *missed_target(result), *((first,) if first else ()), in_words(result), *against_given(result),
        f"kept: {_kept(result)}", f"stopped: {result.stop_reason}",
    )  # fmt: skip
    return Text((*lines, *proof(result), *_finished(result), *_agreement(result), *result.notes, time))


def missed_target(result: SearchResult) -> tuple[str, ...]:
    """A line if the chosen model saves less than the user asked for."""
    missed = [
        f"{100 * result.saved.get(cost, 0.0):.1f} % {LESS[cost]} instead of {100 * share:g} %"
        for cost, share in result.target.items()
        if result.base_runs and result.saved.get(cost, 0.0) < share - ROUNDING
    ]
    return (f"the target is not reached: {', '.join(missed)}",) if missed else ()


def against_given(result: SearchResult) -> tuple[str, ...]:
    """How AP of the chosen model stands to that of the user's model as given; nothing if it is not known."""
    given, ci = result.given, result.given_ci
    if given is None or given.ap is None or ci is None or without_labels(result):
        return ()
    change, margin = chosen_ap(result) - given.ap, points_word(result.margin)
    if ci[0] > -result.margin:
        said = f"the loss is below the margin of {margin}"
    else:
        said = f"the loss {'is' if ci[1] < -result.margin else 'may be'} more than the margin of {margin}"
    head = "; part of it comes from the light head, which is not judged" * (_has_light_head(result) and change < 0)
    return (f"AP against your model as given: {signed(100 * change)} ({interval(ci)}): {said}{head}",)


def in_words(result: SearchResult) -> str:
    """Whether the chosen model is smaller than the user's, and whether it is faster, in one sentence."""
    changed = "your model with the light head" if _has_light_head(result) else "your model"
    if not result.accepted:
        return f"no change is accepted: the chosen model is {changed}"
    size = _word(result.saved["params"], LEAST_SAVED, ("smaller than", "larger than", "as large as"))
    if "latency" not in result.saved:
        return f"the chosen model is {size} your model; its time was not measured"
    speed = speed_word(result)
    link = "and" if (result.saved["params"] > 0) == (speed == "faster") else "but"
    return f"the chosen model is {size} your model, {link} {speed}"


def speed_word(result: SearchResult) -> str:
    """Whether the chosen model is faster than the user's: with one thread, and with all if that is another answer."""
    spread = time_spread(result)
    if spread > BUSY:
        return f"no speed can be told: the turns of one model spread by {100 * spread:.0f} %, the machine was busy"
    words = [_word(result.saved[key], SAME, SPEEDS) for key in ("latency", "latency_all") if key in result.saved]
    if len(set(words)) == 1 or result.threads == 1:
        return words[0]
    return f"{words[0]} with one thread, {words[1]} with {result.threads}"


def time_spread(result: SearchResult) -> float:
    """The largest interquartile range of the measured times / their median; 0 without times."""
    known = [trial.latency for trial in result.trials] + [result.base_latency, result.given and result.given.latency]
    shares = [one.iqr_ms / one.ms for one in known if one]
    shares += [one.all_iqr_ms / one.all_ms for one in known if one and one.all_ms and one.all_iqr_ms is not None]
    return max(shares, default=0.0)


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
        rows.insert(0, ("AP, as given", points(given.ap), points(chosen_ap(result)), change, interval(result.given_ci)))
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
    last = chosen_trial(result)
    return result.base_ap if last is None else last.ap_mean


def chosen_runs(result: SearchResult) -> tuple[float, ...]:
    """AP of each short training of the chosen model."""
    last = chosen_trial(result)
    return result.base_runs if last is None else last.ap_runs


def _kept(result: SearchResult) -> str:
    """The changes of the chosen model; with one move, its stages."""
    if not result.accepted:
        return "none of the changes"
    if len({change.move for change in result.accepted}) == 1 and not result.target:
        several = "s" * (len(result.accepted) > 1)
        return f"stage{several} {', '.join(stage_name(change.stage) for change in result.accepted)}"
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
        lines.append(
            f"with these runs and images a harmless change passes four times in five at a margin of "
            f"{100 * result.resolvable:.1f} points; at smaller margins it often ends inconclusive"
        )
    return tuple(lines)


def _finished(result: SearchResult) -> tuple[str, ...]:
    """What the training at the end made of the chosen model."""
    end, given = result.finish, result.given
    if end is None:
        return ()
    other = "your model as given" if given is not None and given.ap is not None else "the base"
    more = counted(end.epochs, "more epoch")
    written = "the written weights" if end.kept else "less than before: the weights of the first run are written"
    return (
        f"after {more}: AP {100 * end.ap:.1f} ({written}), {other} has {100 * end.against:.1f}: {end.verdict}, "
        f"{end.note}",
    )


def _true_ap(result: SearchResult) -> tuple[str, ...]:
    """In a search without labels, what the labels say that the images have after all."""
    known = {one.name: one.true_ap for one in result.baselines if one.true_ap is not None}
    chosen, given = known.get(CHOSEN), known.get(GIVEN)
    if chosen is None or not given:
        return ()
    return (
        f"by the labels that the validation images have after all: AP {100 * chosen:.1f}, your model "
        f"{100 * given:.1f} ({100 * chosen / given:.0f} % kept)",
    )


def _agreement(result: SearchResult) -> tuple[str, ...]:
    """What AP is in a search without labels."""
    if not without_labels(result):
        return ()
    return (
        "no labels were used: AP is agreement with your model, whose detections count as the truth",
        *_true_ap(result),
    )
