"""Fit a search into the time that a user has: fewer runs, shorter trainings, smaller images. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from effscope.config import IMGSZ_MULTIPLE, SearchConfig
from effscope.errors import EffscopeError
from effscope.progress import duration
from effscope.searching.rules import RULES

LEAST_IMGSZ = 128
"""Smallest side of the images, in px, that a budget chooses."""

Steps = tuple[Callable[[SearchConfig], Mapping[str, int]], ...]


def _epochs(share: float) -> Callable[[SearchConfig], Mapping[str, int]]:
    return lambda config: {"epochs": max(round(share * config.epochs), 1)}


def _imgsz(share: float) -> Callable[[SearchConfig], Mapping[str, int]]:
    def smaller(config: SearchConfig) -> Mapping[str, int]:
        side = round(share * config.imgsz / IMGSZ_MULTIPLE) * IMGSZ_MULTIPLE
        return {"imgsz": min(max(side, LEAST_IMGSZ), config.imgsz)}

    return smaller


def _runs(n: int) -> Callable[[SearchConfig], Mapping[str, int]]:
    return lambda config: {"runs": min(n, config.runs)}


STEPS: Steps = (_runs(3), _epochs(0.5), _runs(2), _imgsz(0.75), _epochs(0.25), _imgsz(0.5))
"""What is given up, one after the other, each from the user's own settings, until the search fits. A step that saves no
time is left out."""


def fit(config: SearchConfig, budget_s: float, seconds: Callable[[SearchConfig], float]) -> dict[str, int]:
    """Settings with which a search ends within its budget; empty if the user's own do.

    Args:
        config: the user's settings.
        budget_s: the budget in s.
        seconds: longest duration of a search with some settings, in s.

    Raises:
        EffscopeError: the shortest search takes longer.
    """
    changed: dict[str, Any] = {}
    needed = seconds(config)
    for step in STEPS:
        if needed <= budget_s:
            break
        tried = changed | {name: value for name, value in step(config).items() if value != getattr(config, name)}
        shorter = seconds(replace(config, **tried))
        if shorter < needed:
            changed, needed = tried, shorter
    if needed <= budget_s:
        return changed
    raise EffscopeError(
        f"`budget` is {duration(budget_s)}, the shortest search ({given_up(config, changed)}) takes up to "
        f"{duration(needed)}: give a longer `budget`, a smaller `limit_train`"
        + (" or fewer `finish_epochs`" if config.finish_epochs else "")
    )


def given_up(config: SearchConfig, changed: Mapping[str, int]) -> str:
    """What the budget changed, in words."""
    names = {"runs": "runs of a candidate", "epochs": "epochs of a short training", "imgsz": "px images"}
    shown = [(name, words) for name, words in names.items() if name in changed]
    if RULES[config.rule].looks == (1,):
        shown = [(name, words) for name, words in shown if name != "runs"]
    return ", ".join(f"{changed[name]} {words} instead of {getattr(config, name)}" for name, words in shown)
