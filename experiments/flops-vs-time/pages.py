"""The page of measured layers, blocks and models beside FLOPs and a roofline."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from scipy.stats import kendalltau, spearmanr

from effscope.costing.nodes import node_costs
from effscope.costing.roofline import device, predicted_s
from effscope.layouts.zoo.catalog import ZOO
from effscope.models.open import open_model
from effscope.spec.rewrite import deploy_form

PUBLISHED = Path(__file__).parents[2] / "tests" / "golden" / "yolo_published.csv"
SAME = 0.05
"""Times that differ by at most this fraction count as equal."""

MISLED = """\
Misled: of two that can stand for each other (forms of one cell; models) and differ by more than {same:.0%} in their
least and in their median time, the one with less takes longer. Ratios and orders below are of least times: neighbours
used the machine too (IQR over median {spread:.0%} in the middle). All times are in measured.csv.
"""

MOST_PAIRS = 12
SE = " + SE"
"""End of the name of a form with squeeze-and-excitation."""


@dataclass(frozen=True)
class Row:
    """A measured form of a cell. Rows of one cell can replace each other."""

    part: str
    cell: str
    form: str
    mflops: float
    mb: float
    predicted_ms: float
    bound: str
    median_ms: float
    iqr_ms: float
    least_ms: float

    def told(self) -> dict[str, Any]:
        """Plain data, numbers to five digits."""
        return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in asdict(self).items()}


Key = Callable[[Row], float]
KEYS: dict[str, Key] = {"FLOPs": lambda row: row.mflops, "roofline": lambda row: row.predicted_ms}


def time(row: Row) -> float:
    """Time of the fastest round: other processes on the machine can only make a round longer."""
    return row.least_ms


def slower(a: Row, b: Row) -> bool:
    """Whether a takes longer than b, by more than `SAME`, both in the median and in the fastest round."""
    return min(a.median_ms / b.median_ms, a.least_ms / b.least_ms) > 1 + SAME


def cells(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by part and cell, in order."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.part, row.cell), []).append(row)
    return list(found.values())


def pairs(rows: Sequence[Row], key: Key) -> tuple[list[tuple[Row, Row]], int]:
    """Pairs of one cell where the first has less but is slower, and the number of pairs that differ in time."""
    wrong, total = [], 0
    for group in cells(rows):
        for pair in combinations(group, 2):
            a, b = sorted(pair, key=key)
            total += slower(a, b) or slower(b, a)
            if key(a) < key(b) and slower(a, b):
                wrong.append((a, b))
    return wrong, total


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is aligned left."""
    drawn = ["| " + " | ".join(map(str, line)) + " |" for line in (head, *lines)]
    return "\n".join([drawn[0], "| :-- |" + " --: |" * (len(head) - 1), *drawn[1:], ""])


def agreement(rows: Sequence[Row]) -> str:
    """How well the orders by FLOPs and by the roofline agree with the order of times."""
    lines = []
    for part in dict.fromkeys(row.part for row in rows):
        chosen = [row for row in rows if row.part == part]
        for name, key in KEYS.items():
            values, told = [key(row) for row in chosen], []
            for times in ([row.least_ms for row in chosen], [row.median_ms for row in chosen]):
                told += [f"{f(values, times).statistic:.3f}" for f in (spearmanr, kendalltau)]
            wrong, total = pairs(chosen, key)
            lines.append((f"{part} ({len(chosen)})", name, *told, f"{len(wrong)} of {total}"))
    taus = ("Spearman, least", "Kendall, least", "Spearman, median", "Kendall, median")
    return table(("measured", "ordered by", *taus, "pairs misled"), lines)


def misleading(rows: Sequence[Row]) -> str:
    """The pairs in which FLOPs mislead most."""
    wrong = sorted(pairs(rows, KEYS["FLOPs"])[0], key=lambda p: time(p[1]) * p[0].mflops / (time(p[0]) * p[1].mflops))
    lines = [
        (
            f"{a.form} against {b.form}, {a.part.split(',')[0]}: {a.cell}", f"{a.mflops / b.mflops:.2f}",
            f"{a.predicted_ms / b.predicted_ms:.2f}", f"{time(a) / time(b):.2f}",
        )
        for a, b in wrong[:MOST_PAIRS]
    ]  # fmt: skip
    return table(("first over second", "FLOPs", "roofline", "measured"), lines)


def savings(rows: Sequence[Row], part: str) -> str:
    """The first form of every cell over each other one: geometric means and the range over cells."""
    chosen = cells([row for row in rows if row.part == part])
    lines = []
    for n, row in enumerate(chosen[0]):
        ratios = []
        for key in (*KEYS.values(), time):
            found = [key(group[0]) / key(group[n]) for group in chosen]
            ratios.append(f"{statistics.geometric_mean(found):.2f} ({min(found):.2f} to {max(found):.2f})")
        speed = statistics.median(group[n].mflops / time(group[n]) for group in chosen)
        lines.append((row.form, *ratios, f"{speed:.0f}"))
    return table((part, "FLOPs", "roofline", "measured", "GFLOP/s reached"), lines)


def orders(rows: Sequence[Row]) -> str:
    """The orders of every cell of layers and blocks, the fastest first."""
    lines = []
    for group in cells([row for row in rows if row.part != "models"]):
        forms = [sorted(group, key=key) for key in (time, *KEYS.values())]
        named = [" < ".join(row.form for row in form) for form in forms]
        told = ["the same" if name == named[0] else name for name in named[1:]]
        taus = (
            f"{kendalltau([key(r) for r in group], [time(r) for r in group]).statistic:.2f}" for key in KEYS.values()
        )
        lines.append((f"{group[0].part}: {group[0].cell}", named[0], *told, *taus))
    return table(("cell", "measured", "by FLOPs", "by roofline", "tau FLOPs", "tau roofline"), lines)


def models(rows: Sequence[Row]) -> str:
    """Whole detectors, the fastest first."""
    chosen = sorted((row for row in rows if row.part == "models"), key=time)
    lines = [
        (
            row.form, f"{row.mflops / 1e3:.2f}", f"{row.mb:.0f}", f"{row.predicted_ms:.1f}", f"{time(row):.1f}",
            f"{row.median_ms:.1f}", f"{row.iqr_ms:.1f}", f"{time(row) / row.predicted_ms:.2f}",
            f"{row.mflops / time(row):.0f}",
        )
        for row in chosen
    ]  # fmt: skip
    head = (
        "model", "GFLOPs", "MB", "roofline ms", "least ms", "median ms", "IQR ms", "least / roofline",
        "GFLOP/s reached",
    )  # fmt: skip
    return table(head, lines)


def published() -> str:
    """Latencies on a T4 without post-processing (YOLOv10 paper), and the roofline of a T4."""
    text = PUBLISHED.read_text(encoding="utf-8").splitlines()
    found = []
    for row in csv.DictReader(line for line in text if not line.startswith("#")):
        if row["latency_f_ms"] and row["model"] in ZOO:
            costs = node_costs(deploy_form(open_model(row["model"]).graph)[0], (1, 3, 640, 640))
            least = 1000 * predicted_s(costs, device("NVIDIA T4"), "float16")
            found.append((row["model"], float(row["flops_g"]), least, float(row["latency_f_ms"])))
    found.sort(key=lambda line: line[3])
    lines = [(name, f"{g:.1f}", f"{least:.2f}", f"{ms:.2f}", f"{ms / least:.2f}") for name, g, least, ms in found]
    taus = [kendalltau([line[n] for line in found], [line[3] for line in found]).statistic for n in (1, 2)]
    return (
        table(("model, 640 px", "GFLOPs", "roofline ms", "published ms", "published / roofline"), lines)
        + f"\nKendall's tau with the published latency: FLOPs {taus[0]:.3f}, roofline {taus[1]:.3f}.\n"
    )


def page(rows: Sequence[Row]) -> str:
    """All tables and their explanations."""
    spread = statistics.median(row.iqr_ms / row.median_ms for row in rows)
    return "\n".join(
        [
            "![measured time against FLOPs and against the roofline](flops-vs-time.png)\n",
            "## Which of the two orders by time\n",
            agreement(rows),
            MISLED.format(same=SAME, spread=spread),
            "## Where FLOPs mislead most\n",
            misleading(rows),
            "## What a form saves: the first form over it, geometric mean over cells (lowest to highest)\n",
            *(savings(rows, part) for part in dict.fromkeys(row.part for row in rows) if part != "models"),
            "## Whole detectors\n",
            models(rows),
            "## Published latencies: T4, float16, TensorRT (YOLOv10 paper, arXiv 2405.14458, table 1)\n",
            published(),
            "## Orders cell by cell\n",
            orders(rows),
        ]
    )
