"""What a budget gives up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from effscope.config import SearchConfig, seconds_of
from effscope.errors import EffscopeError
from effscope.searching.budget import STEPS, fit, given_up

CONFIG = SearchConfig(rule="noninferior", epochs=8, imgsz=320)
RUNS, EPOCHS = "runs of a candidate instead of", "epochs of a short training instead of"


def seconds(config: SearchConfig) -> float:
    """A search whose time is its trained pixels: 1,000 s with the user's settings."""
    return 1000 * config.runs / 5 * config.epochs / 8 * (config.imgsz / 320) ** 2


@pytest.mark.parametrize(
    ("text", "found"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), (" 1H 5M ", 3900)]
)
def test_durations_are_read(text: str, found: float) -> None:
    assert seconds_of("budget", text) == found


@pytest.mark.parametrize("text", ["", "2", "h", "0h", "m30", "2 days", "1m2h", "-1h", "nan"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(EffscopeError, match="`budget` must be a duration like 2h, 90m or 1h30m, got"):
        SearchConfig(budget=text)


@pytest.mark.parametrize(
    ("budget", "changed", "words"),
    [
        (1000, {}, ""),
        (999, {"runs": 3}, f"3 {RUNS} 5"),
        (599, {"runs": 3, "epochs": 4}, f"3 {RUNS} 5, 4 {EPOCHS} 8"),
        (299, {"runs": 2, "epochs": 4}, f"2 {RUNS} 5, 4 {EPOCHS} 8"),
        (199, {"runs": 2, "epochs": 4, "imgsz": 256}, None),
        (100, {"runs": 2, "epochs": 2, "imgsz": 256}, None),
        (60, {"runs": 2, "epochs": 2, "imgsz": 160}, None),
    ],
)
def test_steps_are_taken_until_it_fits(budget: float, changed: dict[str, int], words: str | None) -> None:
    found = fit(CONFIG, budget, seconds)
    assert found == changed
    assert seconds(replace(CONFIG, **found)) <= budget
    if words is not None:
        assert given_up(CONFIG, found) == words


def test_a_step_that_saves_no_time_gives_nothing_up() -> None:
    """A library trains nothing: only the size of the images matters."""
    found = fit(CONFIG, 700, lambda config: 1000 * (config.imgsz / 320) ** 2)
    assert found == {"imgsz": 256}


def test_every_step_makes_a_search_shorter() -> None:
    settings = [dict[str, int]()]
    for step in STEPS:
        settings.append({**settings[-1], **step(CONFIG)})
    times = [seconds(replace(CONFIG, **each)) for each in settings]
    assert all(later < earlier for earlier, later in pairwise(times))


def test_a_budget_that_nothing_fits_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(EffscopeError, match=r"`budget` is 20 s, the shortest search \(2 runs of .*\) takes up to 25 s"):
        fit(CONFIG, 20, seconds)


def test_rules_with_one_run_give_up_no_runs() -> None:
    config = replace(CONFIG, rule="margin")
    assert "runs" not in given_up(config, fit(config, 299, seconds))
