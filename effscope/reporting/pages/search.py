"""The page of a search: verdict, trials, ranks of the base, and how to reproduce it."""

from __future__ import annotations

from effscope.reporting.page import Page, Part, Rows, Section, Table, Text, points, warning
from effscope.reporting.pages import rank
from effscope.reporting.pages.baselines import baselines_table, beaten
from effscope.reporting.pages.front import front_table
from effscope.reporting.pages.go_on import go_on
from effscope.reporting.pages.library import library_table
from effscope.reporting.plots.rank import rank_plot
from effscope.reporting.plots.search import search_plot
from effscope.results import ACCEPTED, Latency, SearchResult, Trial, spelled, stage_name

ROLES = {"result": "search.json", "summary": "summary.md", "rank": "rank.json", "rank plot": "rank.png"}
JUDGED = {"trials": "trials.csv", "plot": "ap_vs_cost.png"}
"""Role of a file -> its name: of every search, and of one that judged candidates."""


def pages(result: SearchResult) -> tuple[Page, ...]:
    """The search, then the ranks of its base."""
    judged = bool(result.base_runs)
    library = library_table(result) if result.library else ()
    low = (warning(rank.warnings(result.ranks)), rank.rank_table(result.ranks), rank_plot(result.ranks, "rank"))
    sections = [Section("", (verdict(result), *(_trials(result) if judged else library)))]
    if result.target and result.front:
        sections.append(Section("What can be had", front_table(result)))
    if result.baselines:
        sections.append(Section("What else there is", baselines_table(result)))
    if judged and library:
        sections.append(Section("What can be replaced by what", library))
    sections += [
        Section("Where the rank is low", tuple(part for part in low if part is not None)),
        *([Section("How to go on", (Text(further),))] if (further := go_on(result)) else []),
        Section("How it was made", (Text(facts(result)),)),
    ]
    roles = {
        **ROLES, **(JUDGED if judged else {}), **({"library": "library.csv"} if library else {}),
        **({"baselines": "baselines.csv"} if result.baselines else {}),
        **({"front": "front.csv"} if result.target and result.front else {}),
    }  # fmt: skip
    page = Page(f"Search on {result.base}", tuple(sections), "summary", result, "search.json", roles)
    return (page, *rank.pages(result.ranks))


def _trials(result: SearchResult) -> tuple[Part, ...]:
    return (search_table(result), search_plot(result), Rows("trials", result.to_rows()))


def verdict(result: SearchResult) -> Text:
    """What was gained and lost against the user's model, the kept stages, and the reason for the stop."""
    time = f"wall time {result.seconds / 60:.1f} min"
    if not result.base_runs:
        return Text((f"{len(result.library)} changes, each alone   {time}", *_agreement(result), *result.notes))
    lines = (
        f"kept: {_kept(result)}   stopped: {result.stop_reason}   {time}",
        gains(result),
        *proof(result),
        *_finished(result),
    )
    first = beaten(result)
    return Text((*((first,) if first else ()), *lines, *_agreement(result), *result.notes))


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


def _kept(result: SearchResult) -> str:
    """The changes of the chosen model; with one move, its stages."""
    if not result.accepted:
        return "your model as it is" if result.target else "stages none"
    if len({change.move for change in result.accepted}) == 1 and not result.target:
        return f"stages {', '.join(stage_name(change.stage) for change in result.accepted)}"
    return spelled(result.accepted)


def proof(result: SearchResult) -> tuple[str, ...]:
    """What the runs prove about the chosen model, and how small a loss they can tell from none."""
    if result.rule != "noninferior":
        return ("judged by one run each: another seed may give another verdict",) if result.trials else ()
    accepted = [trial for trial in result.trials if trial.verdict == ACCEPTED and trial.ci is not None]
    lines = []
    if accepted and accepted[-1].ci is not None:
        low, high = accepted[-1].ci
        lines.append(
            f"proved with 95 % confidence: the changed stages cost less than {100 * result.margin:g} AP points after "
            f"the same training as the base ({100 * low:+.1f} to {100 * high:+.1f})"
        )
    if result.resolvable is not None:
        lines.append(f"these runs on these images can tell a loss of {100 * result.resolvable:.1f} points from none")
    return tuple(lines)


def gains(result: SearchResult) -> str:
    """One sentence: the chosen model against the user's."""
    saved, given = result.saved, result.given
    parts = [f"{_share(saved['params'])} parameters", f"{_share(saved['flops'])} FLOPs"]
    parts += [_speed(result)] if "latency" in saved else []
    ap, runs = 100 * chosen_ap(result), chosen_runs(result)
    score = f"AP {ap:.1f}"
    if len(runs) > 1:
        first = result.finish is None or not result.finish.kept
        written = f"; the written weights, of the first, {100 * runs[0]:.1f}" if first else ""
        score += f" (mean of {len(runs)} runs{written})"
    if given is not None and given.ap is not None:
        score += f", your model had {100 * given.ap:.1f} as given ({ap - 100 * given.ap:+.1f})"
    return f"against {'your model' if given else 'the base'}: {', '.join(parts)}; {score}"


def _speed(result: SearchResult) -> str:
    """How much less time the chosen model takes, in words."""
    every = result.saved.get("latency_all")
    known = [(result.saved["latency"], "one thread" if every is not None else "")]
    if every is not None and result.threads > 1:
        known.append((every, f"{result.threads} threads"))
    parts = [f"{_faster(share)}{f' with {how}' * bool(how)}" for share, how in known]
    return f"{', '.join(parts)} in {result.runtime or 'torch'}"


def _faster(saved: float) -> str:
    if abs(saved) < SAME:
        return "as fast"
    return f"{100 * abs(saved):.0f} % {'faster' if saved > 0 else 'slower'}"


def chosen_ap(result: SearchResult) -> float:
    """Mean AP of the chosen model after the short training."""
    accepted = [trial.ap_mean for trial in result.trials if trial.verdict == ACCEPTED]
    return accepted[-1] if accepted else result.base_ap


def chosen_runs(result: SearchResult) -> tuple[float, ...]:
    """AP of each short training of the chosen model."""
    accepted = [trial.ap_runs for trial in result.trials if trial.verdict == ACCEPTED]
    return accepted[-1] if accepted else result.base_runs


def _share(saved: float) -> str:
    return f"{100 * abs(saved):.1f} % {'fewer' if saved >= 0 else 'more'}"


SAME = 0.02
"""Share of the time below which two models are as fast."""

COLUMNS = (
    "stage", "swap", "params", "FLOPs", "ms", "ms all", "AP at once", "trained", "vs base", "interval", "runs",
    "verdict",
)  # fmt: skip
NARROW = ("ms all", "AP at once", "trained", "FLOPs")
"""Columns that a narrow terminal leaves out, in this order."""

NOISE_COLUMNS = frozenset({"interval", "runs"})
"""Columns of a search whose rule looks at several runs."""


def search_table(result: SearchResult) -> Table:
    """The user's model, its light head, then every trial; parameters and FLOPs against the user's model."""
    given = result.given
    params, flops = (given.params, given.flops) if given else (result.base_params, result.base_flops)
    whole = {"params": f"{params / 1e6:.2f} M", "FLOPs": f"{flops / 1e9:.2f} G"}
    rows: list[dict[str, str]] = []
    name, cost, start = "base", whole, result.base_ap_start
    if given is not None:
        name = "your model"
        if (result.base_params, result.base_flops) != (params, flops):
            rows.append({"stage": name, **whole, **_times(given.latency), "AP at once": _points(given.ap)})
            name, cost = "light head", _changes(result.base_params, result.base_flops, params, flops)
            start = result.base_ap_start if given.fitted_ap is None else given.fitted_ap
    rows.append(
        {
            "stage": name, **cost, **_times(result.base_latency), "AP at once": _points(start),
            "trained": points(result.base_ap), "runs": str(len(result.base_runs)),
        }
    )  # fmt: skip
    rows += [_row(n, trial, params, flops) for n, trial in enumerate(result.trials, 1)]
    several = len(result.base_runs) > 1
    hidden = (frozenset() if several else NOISE_COLUMNS) | (frozenset() if result.threads > 1 else {"ms all"})
    hidden |= frozenset() if any(t.move for t in result.trials) else {"swap"}
    columns = tuple(column for column in COLUMNS if column not in hidden)
    notes = [f"candidate {n}: {spelled(t.changes)}" for n, t in enumerate(result.trials, 1) if t.stage is None]
    notes += [
        "AP x 100; 'at once': before the short training, the new part only fitted to the one it replaces",
        f"'vs base': AP trained against '{name}', which had the same short training",
        _timing_note(result),
    ]
    if several:
        notes.append(
            "'runs': short trainings, each with the seed of one of the base's; 'interval': where the difference lies, "
            "the surer the fewer the runs"
        )
    cells = tuple(tuple(row.get(column, "") for column in columns) for row in rows)
    left = frozenset({"stage", "swap", "verdict"})
    return Table(f"search on {result.base}", columns, cells, left, tuple(notes), NARROW)


def _row(n: int, trial: Trial, params: int, flops: int) -> dict[str, str]:
    """Cells of the n-th trial; parameters and FLOPs against the user's model."""
    return {
        "stage": f"candidate {n}" if trial.stage is None else stage_name(trial.stage), "swap": trial.move or "",
        **_changes(trial.params, trial.flops, params, flops), **_times(trial.latency),
        "AP at once": points(trial.ap_start), "trained": points(trial.ap_mean), "vs base": f"{100 * trial.delta:+.1f}",
        "interval": _interval(trial.ci), "runs": str(len(trial.ap_runs)), "verdict": trial.verdict,
    }  # fmt: skip


def _interval(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f"{100 * ci[0]:+.1f} {100 * ci[1]:+.1f}"


def _times(latency: Latency | None) -> dict[str, str]:
    if latency is None:
        return {}
    return {"ms": f"{latency.ms:.1f}"} | ({} if latency.all_ms is None else {"ms all": f"{latency.all_ms:.1f}"})


def _timing_note(result: SearchResult) -> str:
    """What was timed, and how far the turns spread."""
    known = [trial.latency for trial in result.trials] + [result.base_latency, result.given and result.given.latency]
    shares = [latency.iqr_ms / latency.ms for latency in known if latency]
    shares += [one.all_iqr_ms / one.all_ms for one in known if one and one.all_ms and one.all_iqr_ms is not None]
    spread = max(shares, default=0.0)
    how = f", one thread and all {result.threads}" if result.threads > 1 else ""
    return (
        f"ms: {result.runtime or 'torch'}, float32, one image of {result.imgsz} px, in turn{how}; the middle half of "
        f"the turns within {100 * spread:.0f} % of the median"
    )


def _changes(params: int, flops: int, whole_params: int, whole_flops: int) -> dict[str, str]:
    return {
        "params": f"{100 * (params / whole_params - 1):+.1f} %", "FLOPs": f"{100 * (flops / whole_flops - 1):+.1f} %",
    }  # fmt: skip


def _points(ap: float | None) -> str:
    return "" if ap is None else points(ap)


def facts(result: SearchResult) -> tuple[str, ...]:
    """Facts to reproduce the search."""
    made, config = result.origin, result.origin.config
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    digest = made.data.get("train", "")[:12]
    known = (
        f"data: `{config.data}` (digest {digest}), seed {config.seed}",
        f"{result.imgsz} px, base {config.base_epochs} epochs, short trainings {config.epochs} epochs, "
        f"batch {config.batch}",
    ) if config else ()  # fmt: skip
    return (
        f"command: `{made.command}`",
        *known,
        f"rule: {result.rule}, margin {100 * result.margin:g} AP points",
        f"versions: {versions}; {made.machine}",
    )
