"""The page of a search: verdict, trials, ranks of the base, and how to reproduce it."""

from __future__ import annotations

from effscope.reporting.page import Page, Rows, Section, Table, Text, points, warning
from effscope.reporting.pages import rank
from effscope.reporting.plots.rank import rank_plot
from effscope.reporting.plots.search import search_plot
from effscope.results import SearchResult

ROLES = {
    "result": "search.json", "trials": "trials.csv", "summary": "summary.md", "plot": "ap_vs_cost.png",
    "rank": "rank.json", "rank plot": "rank.png",
}  # fmt: skip


def pages(result: SearchResult) -> tuple[Page, ...]:
    """The search, then the ranks of its base."""
    answer = (verdict(result), search_table(result), search_plot(result), Rows("trials", result.to_rows()))
    low = (warning(rank.warnings(result.ranks)), rank.rank_table(result.ranks), rank_plot(result.ranks, "rank"))
    sections = (
        Section("", answer),
        Section("Where the rank is low", tuple(part for part in low if part is not None)),
        Section("How it was made", (Text(facts(result)),)),
    )
    page = Page(f"Search on {result.base}", sections, "summary", result, "search.json", ROLES)
    return (page, *rank.pages(result.ranks))


def verdict(result: SearchResult) -> Text:
    """The kept stages, the savings, and the reason for the stop."""
    saved = result.saved
    kept = ", ".join(str(change.stage) for change in result.accepted) or "none"
    lines = (
        f"kept: stages {kept}   params {-100 * saved['params']:+.1f} %   FLOPs {-100 * saved['flops']:+.1f} %   "
        f"latency {-100 * saved['latency']:+.1f} % (measured here, float32, one image)",
        f"stopped: {result.stop_reason}   wall time {result.seconds / 60:.1f} min",
    )
    return Text((*lines, *result.notes))


def search_table(result: SearchResult) -> Table:
    """The base, then every trial."""
    base = (
        "base", "", f"{result.base_params / 1e6:.2f} M", f"{result.base_flops / 1e9:.2f} G",
        points(result.base_ap_start), points(result.base_ap), "", "",
    )  # fmt: skip
    rows = [base]
    for t in result.trials:
        rows.append(
            (
                str(t.stage),
                t.move,
                f"{100 * (t.params / result.base_params - 1):+.1f} %",
                f"{100 * (t.flops / result.base_flops - 1):+.1f} %",
                points(t.ap_start),
                points(t.ap_mean),
                f"{100 * t.delta:+.1f}",
                t.verdict,
            )
        )
    notes = ("AP x 100; 'at once': before the short training, the new block only fitted to the one it replaces",)
    columns = ("stage", "swap", "params", "FLOPs", "AP at once", "AP trained", "vs base", "verdict")
    return Table(f"search on {result.base}", columns, tuple(rows), frozenset({"swap", "verdict"}), notes)


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
