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
) -> tuple[int, int]:
    """Search once.

    Args:
        rule: key of `RULES`.
        random: source of the noise.
        costs: AP that each change costs, in the order of the trials; the costs of accepted changes do not add up.
        noise: standard deviation of one run; or one of the base's, then one for each change.
        images: standard deviation of a difference over the choice of images.
        terms: margin and number of runs.

    Returns:
        Number of accepted changes, and of runs.
    """
    judge = RULES[rule]
    sds = [noise] * (len(costs) + 1) if isinstance(noise, float) else list(noise)
    looks = judge.looks_within(terms.runs)
    base = _arm(random, 0.0, sds[0], np.zeros(GROUPS if images else 0), judge.base_runs(terms.runs))
    others: list[Arm] = []
    n_runs = len(base)
    for cost, sd in zip(costs, sds[1:], strict=True):
        effects = images * np.sqrt(GROUPS) * random.standard_normal(GROUPS if images else 0)
        runs = _arm(random, cost, sd, effects, looks[-1])
        needed = looks[0]
        while isinstance(answer := judge.decide(Evidence(base, runs[:needed], tuple(others)), terms), MoreRuns):
            needed = answer.n
        n_runs += needed
        if answer.word != ACCEPTED:
            break
        others.append(runs[:needed])
    return len(others), n_runs


def _arm(random: np.random.Generator, cost: float, sd: float, effects: NDArray[np.float64], n: int) -> Arm:
    """Runs of a model whose AP is a mean over groups of images; without groups, runs know only their AP."""
    shift = effects.mean() if len(effects) else 0.0
    left = (effects.sum() - effects) / (GROUPS - 1)
    aps = TRUE_AP - cost + sd * random.standard_normal(n)
    return tuple(Run(ap + shift, tuple((ap + left).tolist())) for ap in aps.tolist())
