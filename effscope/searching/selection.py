"""Choose changes: the least damage that reaches the targets, as an integer program. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from effscope.results import Change
from effscope.searching.changes import Changes, canonical, place

TIE = 1e-5
"""Damage that each change counts for at least, so that of two equal choices the smaller one wins."""


@dataclass(frozen=True)
class Option:
    """A change that may be chosen.

    Attributes:
        change: the change.
        damage: AP that it costs, a fraction; negative values count as 0.
        saves: name of a cost -> fraction of the given model's cost that it saves.
    """

    change: Change
    damage: float
    saves: Mapping[str, float]


@dataclass(frozen=True)
class Tie:
    """Changes that need each other: any of `members` needs `key`, and `key` needs one of `members`."""

    key: Change
    members: tuple[Change, ...]


def select(options: Sequence[Option], least: Mapping[str, float], ties: Sequence[Tie] = ()) -> Changes | None:
    """The changes with the least sum of damages that save at least so much.

    Args:
        options: at most one of those that replace the same part is chosen.
        least: name of a cost -> fraction that must be saved.
        ties: changes that need each other.

    Returns:
        The changes; None if no choice saves so much.
    """
    return _best(options, [max(option.damage, 0.0) + TIE for option in options], least, ties)


def most(options: Sequence[Option], name: str, ties: Sequence[Tie] = ()) -> float:
    """The largest fraction of one cost that any choice saves."""
    changes = _best(options, [-option.saves[name] for option in options], {}, ties) or ()
    return sum(option.saves[name] for option in options if option.change in changes)


def _best(
    options: Sequence[Option], prices: Sequence[float], least: Mapping[str, float], ties: Sequence[Tie]
) -> Changes | None:
    """The allowed choice with the least sum of prices; None if there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # noqa: PLC0415 - slow import

    if not options:
        return None
    rows, low, high = _rows(options, least, ties)
    limits = LinearConstraint(np.array(rows), low, high)
    found = milp(prices, constraints=limits, integrality=np.ones(len(options)), bounds=Bounds(0, 1))
    if found.x is None:
        return None
    return canonical(option.change for option, taken in zip(options, found.x, strict=True) if taken > 0.5)  # noqa: PLR2004


def _rows(
    options: Sequence[Option], least: Mapping[str, float], ties: Sequence[Tie]
) -> tuple[list[list[float]], list[float], list[float]]:
    """Constraints: coefficients of every option, lower and upper bound."""
    rows, low, high = [], [], []

    def add(values: Sequence[float], at_least: float, at_most: float) -> None:
        rows.append(list(values))
        low.append(at_least)
        high.append(at_most)

    for name, wanted in least.items():
        add([option.saves[name] for option in options], wanted, np.inf)
    for part in dict.fromkeys(place(option.change) for option in options):
        add([float(place(option.change) == part) for option in options], 0, 1)
    for tie in ties:
        key = [float(option.change == tie.key) for option in options]
        add([k - (option.change in tie.members) for k, option in zip(key, options, strict=True)], -np.inf, 0)
        for member in tie.members:
            add([(option.change == member) - k for k, option in zip(key, options, strict=True)], -np.inf, 0)
    return rows, low, high
