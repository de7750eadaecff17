"""Do the verdicts of finished searches hold: base and accepted model again, with seeds that the rule never saw.

`python experiments/verdicts/confirm.py [--seeds 3] FOLDER...` runs what is missing and prints a page; it can stop. The
folders are of searches with --keep-work: the runs start from their weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from effscope.progress import silent
from effscope.results import ACCEPTED, Change, SearchResult, spelled, version
from effscope.searching.context import Context
from effscope.searching.evidence import Arm, Evidence, Run, paired
from effscope.searching.execute import execute
from effscope.searching.jobs import Job, Measurement
from effscope.workspace import WORK, Workspace

FIRST = 1000
"""First fresh seed."""

ERROR = 0.05
"""One-sided error of the confirmation: one look."""


def trained(folder: Path, context: Context, changes: tuple[Change, ...], seeds: int) -> Arm:
    """Short trainings of a variant with fresh seeds, from the weights that the search has."""
    workspace, runs = Workspace(folder), []
    kinds = ["base", *(f"fit-{change.stage}{change.move}" for change in changes)]
    needs = tuple(next((folder / WORK).glob(f"{kind}-*.safetensors")).stem for kind in kinds)
    for seed in range(FIRST, FIRST + seeds):
        job = Job("run", changes, seed, "fresh seeds", needs)
        kept = workspace.kept(job.id)
        found = Measurement.from_dict(kept) if kept else execute(job, context, workspace, silent, print)
        runs.append(Run(found.ap or 0.0, found.left_out))
    return tuple(runs)


def row(folder: Path, seeds: int) -> str:
    """The line of one search."""
    result = SearchResult.load(folder / "search.json")
    config = result.origin.config
    chosen = next(trial for trial in reversed(result.trials) if trial.verdict == ACCEPTED)
    context = Context(config, Workspace(folder).settled("threads", lambda: 1), "cpu", silent, print)
    context = context.within(**Workspace(folder).settled("budget", dict))
    base, candidate = (trained(folder, context, changes, seeds) for changes in ((), chosen.changes))
    found = paired(Evidence(base, candidate))
    low, high = found.interval(ERROR)
    cells = [
        folder.name, f"{100 * result.margin:g}", spelled(result.accepted),
        f"{100 * chosen.delta:+.1f} ({_interval(chosen.ci)})", ", ".join(f"{100 * run.ap:.1f}" for run in base),
        ", ".join(f"{100 * run.ap:.1f}" for run in candidate),
        f"{100 * found.delta:+.1f} ({_interval((low, high))})", "yes" if low > -result.margin else "not proved",
        _price(result, context),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _interval(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f"{100 * ci[0]:+.1f} to {100 * ci[1]:+.1f}"


def _price(result: SearchResult, context: Context) -> str:
    """Training images of the search, and of the same number of runs with every one trained from scratch."""
    images = len(context.splits[0].samples)
    runs = len(result.base_runs) + sum(len(trial.ap_runs) for trial in result.trials)
    base = 0 if context.fits else context.base_epochs
    spent = images * (base + runs * context.config.epochs)
    fresh = images * runs * context.config.base_epochs
    return f"{spent:,} against {fresh:,}: {fresh / spent:.1f} x"


def main() -> None:
    """Print the page."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seeds", type=int, default=3, help="fresh seeds of each model")
    words.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of finished searches")
    asked = words.parse_args()
    last = FIRST + asked.seeds - 1
    print(f"# Accepted models with fresh seeds\n\neffscope {version('effscope')}, seeds {FIRST} to {last}.\n")
    names = (
        "search", "margin", "accepted changes", "difference in the search", "base again", "accepted model again",
        "difference again", "below the margin", "training images, against the same runs from scratch",
    )  # fmt: skip
    print(f"| {' | '.join(names)} |\n|{' :-- |' * len(names)}")
    for folder in asked.folders:
        print(row(folder, asked.seeds), flush=True)


if __name__ == "__main__":
    main()
