"""Do the damages of single changes add up: predicted and measured AP at once of random combinations.

`python experiments/target/damage.py FOLDER [--combinations 24] [--seed 0] --out DIR`: FOLDER is a finished search with
a library. Draws combinations, scores each as the search does (no training), and writes a table, a plot and a page.
What is scored already is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

import matplotlib as mpl
from scipy.stats import spearmanr

from effscope.progress import silent
from effscope.results import Change, SearchResult, spelled, version
from effscope.searching.changes import canonical, place
from effscope.searching.context import Context
from effscope.searching.execute import execute
from effscope.searching.jobs import Measurement, job_book
from effscope.workspace import Workspace

mpl.use("Agg")
import matplotlib.pyplot as plt

LIGHT_HEAD = Change(0, "light-head")


def drawn(changes: list[Change], n: int, seed: int) -> list[tuple[Change, ...]]:
    """Different combinations of two changes or more, from few to many."""
    source, found = random.Random(seed), dict.fromkeys(())
    parts = list(dict.fromkeys(map(place, changes)))
    while len(found) < n:
        size = 2 + len(found) * (len(parts) - 2) // n
        picked = []
        for part in source.sample(parts, size):
            picked.append(source.choice([change for change in changes if place(change) == part]))
        found[canonical(picked)] = None
    return list(found)


def measured(folder: Path, combinations: list[tuple[Change, ...]]) -> list[float]:
    """AP at once of each combination."""
    workspace, result = Workspace(folder), SearchResult.load(folder / "search.json")
    assert result.origin.config is not None
    context = Context(result.origin.config, workspace.settled("threads", lambda: 1), "cpu", silent, print)
    book, found = job_book(context.config, context.inputs), []
    for n, combination in enumerate(combinations, 1):
        job = book.start(combination)
        kept = workspace.kept(job.id)
        one = Measurement.from_dict(kept) if kept else execute(job, context, workspace, silent, print)
        found.append(one.ap or 0.0)
        print(f"{n}/{len(combinations)} {spelled(combination)}: AP {100 * found[-1]:.1f}", flush=True)
    return found


def main() -> None:
    """Write the table, the plot and the page."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--combinations", type=int, default=24)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--out", type=Path, required=True)
    asked = words.parse_args()
    result = SearchResult.load(asked.folder / "search.json")
    alone = {Change(row.stage, row.move): max(row.damage, 0.0) for row in result.library}
    combinations = drawn(list(alone), asked.combinations, asked.seed)
    base = result.base_ap_start
    predicted = [base - sum(alone[change] for change in combination) for combination in combinations]
    kept = [base]
    for combination in combinations:
        product = base
        for change in combination:
            product *= 1 - alone[change] / base
        kept.append(product)
    products, aps = kept[1:], measured(asked.folder, combinations)
    asked.out.mkdir(parents=True, exist_ok=True)
    table(asked.out / "damage.csv", combinations, predicted, products, aps)
    plot(asked.out / "damage.png", predicted, products, aps, base)
    page(asked.out / "damage.md", asked, base, predicted, products, aps)


def table(
    path: Path, combinations: list[tuple[Change, ...]], sums: list[float], products: list[float], aps: list[float]
) -> None:
    """A row per combination."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("changes", "ap_by_sum", "ap_by_product", "ap"))
        rows.writerows(zip(map(spelled, combinations), sums, products, aps, strict=True))


def plot(path: Path, sums: list[float], products: list[float], aps: list[float], base: float) -> None:
    """Measured against predicted AP at once, by both models."""
    figure, axes = plt.subplots(figsize=(5.5, 4.5), layout="constrained")
    axes.plot([0, 100 * base], [0, 100 * base], color="0.7", lw=1, label="equal")
    for values, name, colour in (
        (sums, "base - sum of losses", "#1f5aa6"),
        (products, "base x product of kept shares", "#c8553d"),
    ):
        axes.scatter([100 * max(v, 0) for v in values], [100 * ap for ap in aps], s=22, color=colour, label=name)
    axes.set_xlabel("predicted AP at once x 100")
    axes.set_ylabel("measured AP at once x 100")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def page(
    path: Path, asked: argparse.Namespace, base: float, sums: list[float], products: list[float], aps: list[float]
) -> None:
    """What the combinations say."""
    lines = [
        "# Do the losses of single changes add up?",
        "",
        f"`python experiments/target/damage.py {asked.folder} --combinations {asked.combinations} --seed {asked.seed} "
        f"--out {asked.out}`, effscope {version('effscope')}, torch {version('torch')}. {len(aps)} random combinations "
        f"of 2 to {most_parts(asked.folder)} changes; AP at once (no training), base {100 * base:.1f}.",
        "",
        "| prediction | rank correlation (Spearman) | mean error, points | largest error, points |",
        "| :-- | --: | --: | --: |",
    ]
    for name, values in (("base - sum of losses", sums), ("base x product of kept shares", products)):
        errors = [100 * (ap - max(value, 0.0)) for value, ap in zip(values, aps, strict=True)]
        correlation = spearmanr(values, aps).statistic
        mean = sum(map(abs, errors)) / len(errors)
        lines.append(f"| {name} | {correlation:.2f} | {mean:.1f} | {max(errors, key=abs):+.1f} |")
    lines += ["", "![measured against predicted AP](damage.png)", ""]
    path.write_text("\n".join(lines))
    print("\n".join(lines))


def most_parts(folder: Path) -> int:
    """Number of parts that the library can change."""
    rows = SearchResult.load(folder / "search.json").library
    return len({place(Change(row.stage, row.move)) for row in rows})


if __name__ == "__main__":
    main()
