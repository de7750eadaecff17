"""Error rates of the accept rules in simulated searches: run noise, image noise, one to eight changes.

`python experiments/rule/run.py [--simulations 4000] [--processes 2]` prints a page. `tests/support` must be importable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from math import sqrt
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from support.simulated_search import searched

from effscope.searching.rules import ALPHAS, LOOKS, Terms

POINT = 0.01
NOISES = (0.1, 0.3, 1.0)
"""Standard deviation of one run, in points."""

MARGIN_OF = {0.1: 0.3, 0.3: 1.0, 1.0: 3.0}
"""Noise -> margin, in points."""

IMAGES = (0.0, 0.3, 0.7)
"""Image noise of a difference, in units of run noise."""

SHARED = (0.01, 0.5, 0.8)
"""Share of the variance of a run that its seed does to all models."""

SPREADS = {
    "equal": (1.0, 1.0, 1.0),
    "base 2 x": (2.0, 1.0, 1.0),
    "candidates 2 x": (1.0, 2.0, 2.0),
    "the harmful one 2 x": (1.0, 1.0, 2.0),
    "the harmful one 3 x": (1.0, 1.0, 3.0),
}
"""Noise of the base, of harmless changes and of the harmful change, in units of run noise."""

STAGES = (1, 4, 8)


@dataclass(frozen=True)
class Cell:
    """Searches of one kind: `harmful` changes cost exactly the margin (the last one), or none."""

    rule: str
    stages: int
    noise: float
    images: float
    spread: str
    harmful: bool
    n: int
    shared: float = 0.0

    @property
    def margin(self) -> float:
        """In points; smaller where seeds matter, so that the rows differ."""
        return MARGIN_OF[self.noise] / (2 if self.shared else 1)


@dataclass(frozen=True)
class Found:
    """Share of searches that accepted the harmful change, mean number of accepted changes and of runs."""

    false: float
    accepted: float
    runs: float


def simulate(cell: Cell) -> Found:
    """Simulate the searches of a cell; the seed follows from the cell."""
    random = np.random.default_rng([cell.stages, int(1000 * cell.noise), int(10 * cell.images), *cell.spread.encode()])
    own, seeds = (cell.noise * POINT * sqrt(share) for share in (1 - cell.shared, cell.shared))
    base, harmless, hurt = (own * part for part in SPREADS[cell.spread])
    margin = cell.margin * POINT
    costs = [0.0] * (cell.stages - cell.harmful) + [margin] * cell.harmful
    noises = [base, *[harmless] * (cell.stages - cell.harmful), *[hurt] * cell.harmful]
    found = [
        searched(cell.rule, random, costs, noises, cell.images * cell.noise * POINT, Terms(margin), seeds)
        for _ in range(cell.n)
    ]
    accepted, runs = (np.array(column) for column in zip(*found, strict=True))
    return Found(float(np.mean(accepted == cell.stages)) if cell.harmful else 0.0, accepted.mean(), runs.mean())


def page(n: int, processes: int) -> str:
    """The page, from `n` simulations a cell."""
    usual = Cell("noninferior", 8, 0.1, 0.0, "equal", False, n)
    harmless = [
        replace(usual, rule=rule, noise=noise, images=images)
        for rule, noise, images in product(("noninferior", "margin", "paper"), NOISES, IMAGES)
    ]
    harmless += [replace(usual, noise=0.3, images=images, shared=shared) for shared, images in product(SHARED, IMAGES)]
    harmful = [
        replace(usual, stages=stages, noise=noise, images=images, spread=spread, harmful=True)
        for spread, noise, images, stages in product(SPREADS, NOISES, IMAGES, STAGES)
    ]
    with ProcessPoolExecutor(processes) as pool:
        found = dict(zip([*harmless, *harmful], pool.map(simulate, [*harmless, *harmful]), strict=True))
    sd = 100 * sqrt(0.05 * 0.95 / n)
    worst = {spread: max(found[cell].false for cell in harmful if cell.spread == spread) for spread in SPREADS}
    lines = [
        "# How often the accept rules err",
        "",
        f"{n} simulated searches a cell (`make bench-rule`): Gaussian noise, eight or fewer changes, looks at "
        f"{', '.join(map(str, LOOKS))} runs with errors {ALPHAS[len(LOOKS)]}. Margin 3 to 3.3 times the run noise.",
        "",
        "## Harmless changes: how many of 8 are accepted",
        "",
        "| rule | run noise | of it the seed's | image noise | margin | accepted of 8 | runs |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
    ]
    for cell in harmless:
        result = found[cell]
        lines.append(
            f"| {cell.rule} | {cell.noise:g} | {100 * cell.shared:.0f} % | {cell.images * cell.noise:g} | "
            f"{cell.margin:g} | "
            f"{result.accepted:.2f} | {result.runs:.1f} |"
        )
    lines += [
        "",
        "Noise and margin in AP points; image noise is the standard error of a difference. The seed's: share of the "
        "variance of a run that its seed causes in all models alike.",
        "",
        "## A change that costs exactly the margin: how often it is accepted, %",
        "",
        "It comes last, after harmless ones; seeds have no effect of their own. The goal is 5 %; the standard error of "
        f"a cell is {sd:.2f}.",
        "",
        "| run noise of | run noise | image noise | " + " | ".join(f"{n} changes" for n in STAGES) + " |",
        "| :-- | --: | --: |" + " --: |" * len(STAGES),
    ]
    for spread, noise, images in product(SPREADS, NOISES, IMAGES):
        cells = [replace(usual, stages=s, noise=noise, images=images, spread=spread, harmful=True) for s in STAGES]
        values = " | ".join(f"{100 * found[cell].false:.1f}" for cell in cells)
        lines.append(f"| {spread} | {noise:g} | {images * noise:g} | {values} |")
    lines += ["", "Highest: " + ", ".join(f"{spread} {100 * value:.1f} %" for spread, value in worst.items()) + "."]
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulations", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args(words)
    print(page(given.simulations, given.processes))


if __name__ == "__main__":
    main()
