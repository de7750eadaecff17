"""A greedy search on simulated trainings: AP is a true value, plus run noise, plus the effect of the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from effscope.detect.jackknife import GROUPS
from effscope.results import ACCEPTED
from effscope.searching.evidence import Arm, Evidence, Run
from effscope.searching.rules import RULES, MoreRuns, Terms

TRUE_AP = 0.5


def searched(
    rule: str,
    random: np.random.Generator,
    costs: Sequence[float],
    noise: float | Sequence[float],
    images: float,
    terms: Terms,
    shared: float = 0.0,
) -> tuple[int, int]:
    """Search once.

    Args:
        rule: key of `RULES`.
        random: source of the noise.
        costs: AP that each change costs, in the order of the trials; the costs of accepted changes do not add up.
        noise: standard deviation of one run; or one of the base's, then one for each change.
        images: standard deviation of a difference over the choice of images.
        terms: margin and number of runs.
        shared: standard deviation of what a seed does to the runs of all models.

    Returns:
        Number of accepted changes, and of runs.
    """
    judge = RULES[rule]
    sds = [noise] * (len(costs) + 1) if isinstance(noise, float) else list(noise)
    looks = judge.looks_within(terms.runs)
    seeds = shared * random.standard_normal(looks[-1])
    base = _arm(random, seeds, sds[0], np.zeros(GROUPS if images else 0))
    others: list[Arm] = []
    n_runs, n_base = 0, looks[0]
    for cost, sd in zip(costs, sds[1:], strict=True):
        effects = images * np.sqrt(GROUPS) * random.standard_normal(GROUPS if images else 0)
        runs = _arm(random, seeds - cost, sd, effects)
        needed = looks[0]
        while True:
            n_base = max(n_base, needed)
            answer = judge.decide(Evidence(base[:n_base], runs[:needed], tuple(others)), terms)
            if not isinstance(answer, MoreRuns):
                break
            needed = answer.n
        n_runs += needed
        if answer.word != ACCEPTED:
            break
        others.append(runs[:needed])
    return len(others), n_runs + n_base


def _arm(random: np.random.Generator, shifts: NDArray[np.float64], sd: float, effects: NDArray[np.float64]) -> Arm:
    """Runs of a model whose AP is a mean over groups of images; without groups, runs know only their AP.

    `shifts` holds the difference of each run's expected AP from `TRUE_AP`.
    """
    over_images = effects.mean() if len(effects) else 0.0
    left = (effects.sum() - effects) / (GROUPS - 1)
    aps = TRUE_AP + shifts + sd * random.standard_normal(len(shifts))
    return tuple(Run(ap + over_images, tuple((ap + left).tolist())) for ap in aps.tolist())
