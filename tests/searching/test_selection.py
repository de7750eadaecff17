"""The choice of changes against an enumeration of all choices."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.results import HEAD, Change
from effscope.searching.changes import place
from effscope.searching.selection import TIE, Option, Tie, most, select

LIGHT = Change(HEAD, "light-head")
MOVES = ("cib", "slim-50", "ghost")


@st.composite
def libraries(draw: st.DrawFn) -> tuple[Option, ...]:
    """Up to nine changes of three stages, perhaps with the light head."""
    changes = [Change(stage, move) for stage in (1, 2, 3) for move in MOVES]
    chosen = draw(st.lists(st.sampled_from([*changes, LIGHT]), min_size=1, max_size=8, unique=True))
    share = st.integers(-2, 12).map(lambda n: n / 100)
    damage = st.integers(-3, 20).map(lambda n: n / 1000)
    return tuple(Option(one, draw(damage), {"params": draw(share), "latency": draw(share)}) for one in chosen)


def ties_of(options: tuple[Option, ...]) -> tuple[Tie, ...]:
    compact = tuple(option.change for option in options if option.change.move == "cib")
    return (Tie(LIGHT, compact),) if any(option.change == LIGHT for option in options) else ()


def choices(options: tuple[Option, ...]) -> list[tuple[Option, ...]]:
    """Every choice that changes a part at most once and keeps the ties."""
    found = []
    for taken in product((False, True), repeat=len(options)):
        picked = tuple(option for option, take in zip(options, taken, strict=True) if take)
        parts = [place(option.change) for option in picked]
        compact = any(option.change.move == "cib" for option in picked)
        light = any(option.change == LIGHT for option in picked)
        tied = not ties_of(options) or compact == light
        if len(set(parts)) == len(parts) and tied:
            found.append(picked)
    return found


@settings(max_examples=150, deadline=None)
@given(options=libraries(), params=st.integers(0, 25), latency=st.integers(-3, 20))
def test_the_choice_is_the_best_of_all(options: tuple[Option, ...], params: int, latency: int) -> None:
    least = {"params": params / 100, "latency": latency / 100}

    def saves(picked: tuple[Option, ...], name: str) -> float:
        return sum(option.saves[name] for option in picked)

    def damage(picked: tuple[Option, ...]) -> float:
        return sum(max(option.damage, 0.0) + TIE for option in picked)

    enough = [c for c in choices(options) if all(saves(c, name) >= wanted - 1e-9 for name, wanted in least.items())]
    found = select(options, least, ties_of(options))
    if not enough:
        assert found is None
        return
    assert found is not None
    picked = tuple(option for option in options if option.change in found)
    assert picked in choices(options)
    assert all(saves(picked, name) >= wanted - 1e-6 for name, wanted in least.items())
    assert damage(picked) <= min(map(damage, enough)) + 1e-9


@settings(max_examples=80, deadline=None)
@given(options=libraries())
def test_the_most_that_can_be_saved(options: tuple[Option, ...]) -> None:
    best = max(sum(option.saves["params"] for option in picked) for picked in choices(options))
    assert most(options, "params", ties_of(options)) == pytest.approx(best, abs=1e-9)


def test_of_equal_choices_the_smaller_one_wins() -> None:
    free = [Option(Change(stage, "slim-50"), -0.01, {"params": 0.1}) for stage in (1, 2, 3)]
    assert select(free, {"params": 0.1}) is not None
    assert len(select(free, {"params": 0.1}) or ()) == 1
    assert select((), {"params": 0.1}) is None
    assert most((), "params") == 0.0
