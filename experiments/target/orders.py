"""Does the rank order earn its keep: AP at once while stages change one after the other, in several orders.

`python experiments/target/orders.py FOLDER [--move cib] --out DIR`: FOLDER is a finished search with a library that
changed every stage by the move. Scores the prefixes of each order as the search does (no training), and writes a table,
a plot and a page. What is scored already is not repeated.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from damage import measured

from effscope.results import Change, LibraryRow, SearchResult, version
from effscope.searching.changes import Changes, canonical

mpl.use("Agg")
import matplotlib.pyplot as plt

Orders = Mapping[str, Sequence[int]]
COLOURS = ("#1f5aa6", "#c8553d", "#3d8b5f", "#8a63b5", "0.6")


def orders_of(result: SearchResult, rows: Mapping[int, LibraryRow]) -> Orders:
    """Name -> stages in the order of the trials; the reverse of the rank order is a control."""
    known = [row for row in result.ranks.stages if row.separability_2 is not None]
    apart = [row.stage for row in sorted(known, key=lambda row: -(row.separability_2 or 0.0))]
    rank = [stage for stage in result.ranks.order if stage in rows]

    def damage(stage: int) -> float:
        return max(rows[stage].damage, 0.0)

    return {
        "rank": rank,
        "separability": [stage for stage in apart if stage in rows],
        "damage": sorted(rows, key=damage),
        "damage-per-saving": sorted(rows, key=lambda stage: damage(stage) / rows[stage].params),
        "rank, reversed": rank[::-1],
    }


def curve(order: Sequence[int], rows: Mapping[int, LibraryRow], ap: Mapping[Changes, float], move: str, whole: int):
    """(share of parameters saved, AP at once) of every prefix, the empty one first."""
    points, saved = [(0.0, ap[()])], 0
    for n, stage in enumerate(order, 1):
        saved += rows[stage].params
        points.append((saved / whole, ap[canonical(Change(one, move) for one in order[:n])]))
    return points


def mean_ap(points: Sequence[tuple[float, float]]) -> float:
    """Mean AP over the saved parameters, by trapezoids: an order that saves much before it loses AP has a high one."""
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))
    return area / points[-1][0]


def kept_at(points: Sequence[tuple[float, float]], loss: float) -> float:
    """The largest share of parameters that a search saves which stops at the first prefix with a larger loss."""
    saved = 0.0
    for share, ap in points:
        if points[0][1] - ap > loss:
            break
        saved = share
    return saved


def main() -> None:
    """Score all prefixes and write what they say."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--move", default="cib")
    words.add_argument("--out", type=Path, required=True)
    asked = words.parse_args()
    result = SearchResult.load(asked.folder / "search.json")
    assert result.given is not None
    rows = {row.stage: row for row in result.library if row.move == asked.move}
    orders = orders_of(result, rows)
    sets = {canonical(Change(one, asked.move) for one in order[:n]) for order in orders.values() for n in range(1, 9)}
    listed = sorted(sets, key=lambda changes: (len(changes), [change.stage for change in changes]))
    ap = dict(zip(listed, measured(asked.folder, listed), strict=True)) | {(): result.base_ap_start}
    curves = {name: curve(order, rows, ap, asked.move, result.given.params) for name, order in orders.items()}
    name = f"orders-{asked.folder.name}-{asked.move}"
    asked.out.mkdir(parents=True, exist_ok=True)
    table(asked.out / f"{name}.csv", orders, curves)
    plot(asked.out / f"{name}.png", curves)
    page(asked.out / f"{name}.md", asked, orders, curves)


def table(path: Path, orders: Orders, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """A row per order and prefix."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("order", "n", "stage", "saved", "ap_at_once"))
        for name, points in curves.items():
            for n, (saved, ap) in enumerate(points):
                rows.writerow((name, n, orders[name][n - 1] if n else "", f"{saved:.4f}", f"{ap:.4f}"))


def plot(path: Path, curves: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """AP at once against saved parameters, a line per order."""
    figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for (name, points), colour in zip(curves.items(), COLOURS, strict=True):
        axes.plot(
            [100 * x for x, _ in points], [100 * y for _, y in points], marker="o", ms=3, color=colour, label=name
        )
    axes.set_xlabel("parameters saved, %")
    axes.set_ylabel("AP at once x 100")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def page(
    path: Path, asked: argparse.Namespace, orders: Orders, curves: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
    """What the orders say."""
    lines = [
        f"# Orders of the stages: {asked.folder.name}, {asked.move}",
        "",
        f"`python experiments/target/orders.py {asked.folder} --move {asked.move} --out {asked.out}`, effscope "
        f"{version('effscope')}, torch {version('torch')}. AP at once (no training) of every prefix of each order. "
        "'mean': AP over the saved parameters; 'until -1', '-2', '-5': parameters that are saved before AP at once has "
        "fallen by more points.",
        "",
        "| order | stages | mean AP x 100 | until -1 | until -2 | until -5 |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]
    for name, points in curves.items():
        until = " | ".join(f"{100 * kept_at(points, loss):.1f} %" for loss in (0.01, 0.02, 0.05))
        stages = " ".join(map(str, orders[name]))
        lines.append(f"| {name} | {stages} | {100 * mean_ap(points):.1f} | {until} |")
    spread = fmean(mean_ap(points) for name, points in curves.items() if "reversed" not in name)
    lines += ["", f"Mean of the four orders: {100 * spread:.1f}.", "", f"![AP at once]({path.stem}.png)", ""]
    path.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
