"""The page of a search: what comes first, what is said in words, its tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.pages import contents, first_text, width
from support.results import BY_KIND

from effscope.reporting.page import Rows, Table
from effscope.reporting.pages import pages
from effscope.reporting.pages.gains import gains_table, in_words
from effscope.reporting.render import markdown, terminal
from effscope.results import Latency, SearchResult


def test_a_search_says_what_it_proved_and_what_it_can_tell() -> None:
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    lines = first_text(replace(result, rule="noninferior")).splitlines()
    assert lines[3:5] == [
        "proved with 95 % confidence: the changed stages cost less than 1 AP point, after the same training as the "
        "base (-1.0 to +3.0)",
        "with these runs and images a harmless change passes four times in five at a margin of 0.5 points; at smaller "
        "margins it often ends inconclusive",
    ]  # fmt: skip
    none = replace(result, rule="noninferior", trials=(), accepted=(), resolvable=None)
    assert "proved" not in first_text(none)


def test_the_chosen_model_stands_beside_the_given_one() -> None:
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    table = gains_table(result)
    assert table is not None and table.columns == ("", "your model", "chosen", "change", "95 % interval")
    assert table.rows == (
        ("AP, as given", "42.0", "41.0", "-1.0", ""),
        ("AP, same training", "40.0", "41.0", "+1.0", "-1.0 to +3.0"),
        ("parameters", "0.00 M", "0.00 M", "-10.0 %", ""),
        ("FLOPs", "0.00 G", "0.00 G", "-20.0 %", ""),
        ("ms, one thread", "9.5", "12.3", "+30.0 %", ""),
    )
    assert table.notes[0] == (
        "AP x 100; 'same training': your model with the light head, and the chosen model, after the same training, "
        "mean of 2 runs"
    )
    as_given = replace(result, accepted=(), trials=(), base_params=120)
    assert gains_table(as_given) is None


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"params": 0.3, "latency": 0.2}, "smaller than your model, and faster"),
        ({"params": 0.3, "latency": 0.01}, "smaller than your model, but not faster"),
        ({"params": 0.3, "latency": -0.2}, "smaller than your model, but slower"),
        ({"params": 0.001, "latency": 0.2}, "as large as your model, and faster"),
        ({"params": -0.1, "latency": 0.2}, "larger than your model, but faster"),
        ({"params": 0.3}, "smaller than your model; its time was not measured"),
    ],
)
def test_smaller_and_faster_are_said_in_words(saved: dict[str, float], said: str) -> None:
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    assert in_words(replace(result, saved=saved)) == f"the chosen model is {said}"


def test_a_noisy_or_divided_time_is_no_speed() -> None:
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    saved = {"params": 0.3, "latency": 0.2, "latency_all": -0.1}
    divided = replace(result, saved=saved)
    assert in_words(divided).endswith("faster with one thread, slower with 2")
    noisy = replace(divided, base_latency=Latency(8.5, 9.0))
    assert "no speed can be told: the turns of one model spread by 106 %" in in_words(noisy)


def test_a_missed_target_and_a_loss_against_the_given_model_come_first() -> None:
    """The changed stages may be proved while the light head, which no run judges, costs AP."""
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult) and result.given is not None
    saved = {"params": 0.101, "flops": 0.0, "latency": 0.2}
    missed = replace(result, target={"params": 0.15, "latency": 0.1}, saved=saved)
    assert first_text(missed).splitlines()[0] == "the target is not reached: 10.1 % fewer parameters instead of 15 %"
    assert "not reached" not in first_text(replace(missed, target={"params": 0.1}))
    given = replace(result.given, ap=0.43)
    for ci, said in (
        ((-0.03, -0.012), "-2.0 (-3.0 to -1.2): the loss is more than the margin of 1 AP point; part of it comes from"),
        ((-0.009, 0.004), "-2.0 (-0.9 to +0.4): the loss is below the margin of 1 AP point; part of it"),
    ):
        line = first_text(replace(result, given=given, given_ci=ci)).splitlines()[1]
        assert line.startswith(f"AP against your model as given: {said}")
    assert "as given" not in first_text(result)  # an older result has no interval


@pytest.mark.parametrize("stage", [8, None])
def test_the_table_of_a_search_fits_a_narrow_terminal(stage: int | None) -> None:
    """With stage, change, interval and verdict, also of a candidate with several changes."""
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    trial = replace(result.trials[0], stage=stage, move=None if stage is None else "cib-lk", verdict="inconclusive")
    table = next(
        part
        for part in pages(replace(result, trials=(trial,)))[0].parts()
        if getattr(part, "title", "") == "step by step"
    )
    assert isinstance(table, Table)
    shown = terminal.fitted(table, 80)
    assert width(shown) <= 80
    assert {"stage", "vs base", "95 % interval", "verdict", "params", "ms"} <= set(shown.columns)
    assert ("swap" in shown.columns) == (stage is not None)
    assert terminal.fitted(table, 120) == table


def test_a_search_says_first_that_a_smaller_image_is_as_good() -> None:
    """Only if it is at least as fast and has as much AP as the chosen model."""
    result = BY_KIND["search"]
    assert isinstance(result, SearchResult)
    base, chosen, smaller = result.baselines
    assert "needs no changed layer" not in first_text(result)
    assert result.margin == 0.01
    for ap, ms, said in (
        (0.4, 8.5, True), (0.41, 8.0, True), (0.391, 8.0, True), (0.389, 8.0, False), (0.41, 8.6, False),
    ):  # fmt: skip
        other = replace(smaller, ap=ap, latency=Latency(ms, 0.1))
        text = first_text(replace(result, baselines=(base, chosen, other)))
        assert text.startswith("the base at 32 px is at least as fast as the chosen model") == said
        assert ("is below its AP by less than the margin" in text) == (said and ap < 0.4)
    assert "needs no changed layer" not in first_text(replace(result, baselines=(base,)))


def test_a_search_page_can_be_read_alone() -> None:
    text = markdown.text(pages(BY_KIND["search"])[0])
    assert text.startswith(
        "# Search on m\n\n- the chosen model is smaller than your model, but slower\n- kept: stage 8"
    )
    assert text.index("## Where the rank is low") < text.index("## How it was made")
    assert "- rule: margin, margin 1 AP point\n" in text and "- 64 px, short trainings 10 epochs" in text
    trained = replace(BY_KIND["search"], base_epochs=30)  # type: ignore[call-arg]  # less than the setting
    assert "- 64 px, base 30 epochs, short" in markdown.text(pages(trained)[0])
    trials, free, library = (part for part in pages(BY_KIND["search"])[0].parts() if isinstance(part, Rows))
    assert [row["latency_ms"] for row in free.rows] == [9.5, 8.5, None]
    assert [row["move"] for row in library.rows] == ["slim-50", "light-head"]
    assert text.index("## What can be replaced by what") < text.index("## Where the rank is low")
    assert contents(pages(BY_KIND["search"])[0])["trials.csv"].decode().splitlines() == [
        ",".join(trials.rows[0]),
        "8,cib,90,900,0.3,0.41,0.4 0.42,0.4,0.01,-0.01 0.03,accepted,8:cib,a note,7.5,0.1,4.5,0.2",
    ]
