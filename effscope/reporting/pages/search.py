"""The page of a search: verdict, trials, ranks of the base, and how to reproduce it."""

from __future__ import annotations

from effscope.errors import counted
from effscope.reporting.page import Page, Part, Rows, Section, Table, Text, points, present, signed
from effscope.reporting.pages import rank
from effscope.reporting.pages.baselines import baselines_table
from effscope.reporting.pages.front import front_table
from effscope.reporting.pages.gains import gains_table, interval, time_spread, verdict
from effscope.reporting.pages.go_on import go_on
from effscope.reporting.pages.library import library_table
from effscope.reporting.plots.rank import rank_plot
from effscope.reporting.plots.search import points_word, search_plot
from effscope.results import Latency, SearchResult, Trial, spelled, stage_name

ROLES = {"result": "search.json", "summary": "summary.md", "rank": "rank.json", "rank plot": "rank.png"}
JUDGED = {"trials": "trials.csv", "plot": "ap_vs_cost.png"}
"""Role of a file -> its name: of every search, and of one that judged candidates."""


def pages(result: SearchResult) -> tuple[Page, ...]:
    """The search, then the ranks of its base."""
    judged = bool(result.base_runs)
    library = library_table(result) if result.library else ()
    low = present(rank.warning_text(result.ranks), rank.rank_table(result.ranks), rank_plot(result.ranks, "rank"))
    sections = [Section("", present(verdict(result), gains_table(result), *(_trials(result) if judged else library)))]
    if result.target and result.front:
        sections.append(Section("What can be had", front_table(result)))
    if result.baselines:
        sections.append(Section("What else there is", baselines_table(result)))
    if judged and library:
        sections.append(Section("What can be replaced by what", library))
    sections += [
        Section("Where the rank is low", low),
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


INTERVAL = "95 % interval"
COLUMNS = (
    "stage", "swap", "vs base", INTERVAL, "verdict", "params", "FLOPs", "ms", "ms all", "runs", "AP at once", "trained",
)  # fmt: skip
NARROW = ("trained", "AP at once", "ms all", "runs", "FLOPs")
"""Columns that a narrow terminal leaves out, in this order."""

NOISE_COLUMNS = frozenset({INTERVAL, "runs"})
"""Columns of a search whose rule looks at several runs."""


def search_table(result: SearchResult) -> Table:
    """The user's model, its light head, then every trial; parameters and FLOPs against the user's model."""
    given = result.given
    params, flops = (given.params, given.flops) if given else (result.base_params, result.base_flops)
    whole = {"params": f"{params / 1e6:.2f} M", "FLOPs": f"{flops / 1e9:.2f} G"}
    rows: list[dict[str, str]] = []
    name, cost, start, latency = "base", whole, result.base_ap_start, result.base_latency
    if given is not None:
        name = "your model"
        if (result.base_params, result.base_flops) != (params, flops):
            rows.append({"stage": name, **whole, **_times(given.latency), "AP at once": _points(given.ap)})
            name, cost = "light head", _changes(result.base_params, result.base_flops, params, flops)
            start = result.base_ap_start if given.fitted_ap is None else given.fitted_ap
        else:
            latency = given.latency or latency  # the same model: one time
    rows.append(
        {
            "stage": name, **cost, **_times(latency), "AP at once": _points(start),
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
        f"vs base: AP x 100 against '{name}', both after the same short training; each row keeps the accepted changes "
        "above it",
        "params and FLOPs: against your model",
        *_timing_notes(result),
    ]
    if several:
        notes.append("runs: short trainings, with the seeds of the base's; after fewer runs a verdict must be clearer")
    notes.append("AP at once: before the short training, the new part only fitted to the one it replaces")
    cells = tuple(tuple(row.get(column, "") for column in columns) for row in rows)
    left = frozenset({"stage", "swap", "verdict"})
    return Table("step by step", columns, cells, left, tuple(notes), NARROW)


def _row(n: int, trial: Trial, params: int, flops: int) -> dict[str, str]:
    """Cells of the n-th trial; parameters and FLOPs against the user's model."""
    return {
        "stage": f"candidate {n}" if trial.stage is None else stage_name(trial.stage), "swap": trial.move or "",
        **_changes(trial.params, trial.flops, params, flops), **_times(trial.latency),
        "AP at once": points(trial.ap_start), "trained": points(trial.ap_mean), "vs base": signed(100 * trial.delta),
        INTERVAL: interval(trial.ci), "runs": str(len(trial.ap_runs)), "verdict": trial.verdict,
    }  # fmt: skip


def _times(latency: Latency | None) -> dict[str, str]:
    if latency is None:
        return {}
    return {"ms": f"{latency.ms:.1f}"} | ({} if latency.all_ms is None else {"ms all": f"{latency.all_ms:.1f}"})


def _timing_notes(result: SearchResult) -> tuple[str, ...]:
    """What was timed, and how far the turns spread."""
    how = ", one thread" if result.threads > 1 else ""
    return (
        f"ms: {result.runtime or 'torch'}, float32, one image of {result.imgsz} px, in turn{how}; the middle half of "
        f"the turns within {100 * time_spread(result):.0f} % of the median",
        *((f"ms all: all {result.threads} threads",) if result.threads > 1 else ()),
    )


def _changes(params: int, flops: int, whole_params: int, whole_flops: int) -> dict[str, str]:
    return {
        "params": f"{signed(100 * (params / whole_params - 1))} %",
        "FLOPs": f"{signed(100 * (flops / whole_flops - 1))} %",
    }  # fmt: skip


def _points(ap: float | None) -> str:
    return "" if ap is None else points(ap)


def _base_training(result: SearchResult) -> str:
    """How long the base trained; empty where a result of an older version does not say."""
    if result.base_epochs is None:
        return ""
    return f"base {counted(result.base_epochs, 'epoch')}, " if result.base_epochs else "base not trained, "


def facts(result: SearchResult) -> tuple[str, ...]:
    """Facts to reproduce the search."""
    made, config = result.origin, result.origin.config
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    digest = made.data.get("train", "")[:12]
    known = (
        f"data: `{config.data}` (digest {digest}), seed {config.seed}",
        f"{result.imgsz} px, {_base_training(result)}short trainings {counted(config.epochs, 'epoch')}, "
        f"batch {config.batch}",
    ) if config else ()  # fmt: skip
    return (
        f"command: `{made.command}`",
        *known,
        f"rule: {result.rule}, margin {points_word(result.margin)}",
        f"versions: {versions}; {made.machine}",
    )
