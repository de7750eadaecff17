"""What a search leaves in its folder beside the weights: results, tables, pictures, a summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from effscope.files import write_text
from effscope.reporting.plots import plot_search
from effscope.reporting.rank_folder import write_rank
from effscope.reporting.rank_tables import rank_table
from effscope.reporting.render import to_csv, to_markdown
from effscope.reporting.tables import search_table
from effscope.results import SearchResult


def write_search(folder: Path, found: SearchResult) -> SearchResult:
    """search.json, trials.csv, summary.md, the plots, and the ranks; returns the result with all its files."""
    names = {
        "result": "search.json", "trials": "trials.csv", "summary": "summary.md", "plot": "ap_vs_cost.png",
        "rank": "rank.json", "rank plot": "rank.png",
    }  # fmt: skip
    result = replace(found, files=found.files | {k: str(folder / v) for k, v in names.items()})
    write_rank(folder, [result.ranks])
    write_text(folder / "trials.csv", to_csv(result.to_rows()))
    plot_search(result, folder / "ap_vs_cost.png")
    write_text(folder / "summary.md", summary(result))
    result.save(folder / "search.json")
    return result


def summary(result: SearchResult) -> str:
    """The search as a page of Markdown that can be read without having been there."""
    made, config = result.origin, result.origin.config
    assert config is not None
    facts = [
        f"- command: `{made.command}`",
        f"- data: `{config.data}` (digest {made.data['train'][:12]}), seed {config.seed}",
        f"- {result.imgsz} px, base {config.base_epochs} epochs, "
        f"short trainings {config.epochs} epochs, batch {config.batch}",
        f"- rule: {result.rule}, margin {100 * result.margin:g} AP points",
        "- versions: " + ", ".join(f"{k} {v}" for k, v in made.versions.items()) + f"; {made.machine}",
    ]
    parts = [
        f"# Search on {result.base}",
        to_markdown(search_table(result)),
        "![AP against FLOPs](ap_vs_cost.png)",
        "## Where the rank is low",
        to_markdown(rank_table(result.ranks)),
        "![rank by stage](rank.png)",
        "## How it was made",
        "\n".join(facts),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"
