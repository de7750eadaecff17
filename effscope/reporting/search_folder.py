"""What a search leaves in its folder beside the weights: results, tables, pictures, a summary."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from effscope.files import write_text
from effscope.reporting.plots import plot_search
from effscope.reporting.rank_folder import write_rank
from effscope.reporting.rank_tables import rank_table
from effscope.reporting.render import to_csv, to_markdown
from effscope.reporting.tables import search_table
from effscope.results import RankResult, SearchResult

if TYPE_CHECKING:
    from effscope.searching.run import Finished


def write_search(folder: Path, finished: Finished) -> SearchResult:
    """search.json, trials.csv, summary.md, the plots, and the ranks; returns the result with all its files."""
    names = {
        "result": "search.json", "trials": "trials.csv", "summary": "summary.md", "plot": "ap_vs_cost.png",
        "rank": "rank.json", "rank plot": "rank.png",
    }  # fmt: skip
    result = replace(finished.result, files=finished.result.files | {k: str(folder / v) for k, v in names.items()})
    write_rank(folder, [finished.ranks])
    write_text(folder / "trials.csv", to_csv([asdict(trial) for trial in result.trials]))
    plot_search(result, folder / "ap_vs_cost.png")
    write_text(folder / "summary.md", summary(result, finished.ranks))
    result.save(folder / "search.json")
    return result


def summary(result: SearchResult, ranks: RankResult) -> str:
    """The search as a page of Markdown that can be read without having been there."""
    made = result.origin
    facts = [
        f"- command: `{made.command}`",
        f"- data: `{made.config['data']}` (digest {made.data[:12]}), seed {made.config['seed']}",
        f"- {made.config['imgsz']} px, base {made.config['base_epochs']} epochs, "
        f"short trainings {made.config['epochs']} epochs, batch {made.config['batch']}",
        f"- rule: {made.config['rule']}, margin {100 * made.config['margin']:g} AP points",
        "- versions: " + ", ".join(f"{k} {v}" for k, v in made.versions.items()) + f"; {made.machine}",
    ]
    parts = [
        f"# Search on {result.base}",
        to_markdown(search_table(result)),
        "![AP against FLOPs](ap_vs_cost.png)",
        "## Where the rank is low",
        to_markdown(rank_table(ranks)),
        "![rank by stage](rank.png)",
        "## How it was made",
        "\n".join(facts),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
