"""Plots draw their data: positions, heights and labels on the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.collections import LineCollection, PathCollection
from support.results import BY_KIND, HISTORY, TRIAL

from effscope import api
from effscope.reporting.page import Page, Plot
from effscope.reporting.pages import pages
from effscope.reporting.plots.front import front_plot
from effscope.reporting.plots.latency import latency_plot
from effscope.reporting.plots.rank import RANDOM, THRESHOLD, compared_plot, rank_plot, spectra_plot
from effscope.reporting.plots.search import LOWEST, LOWEST_AP, search_plot
from effscope.reporting.plots.train import history_plot
from effscope.reporting.render.figure import image
from effscope.results import (
    ACCEPTED,
    REJECTED,
    Change,
    FrontPoint,
    LatencyResult,
    SearchResult,
    TrainResult,
)
from effscope.searching.evidence import Evidence, Run
from effscope.searching.rules import RULES, Terms, Verdict

RANKS = (api.rank("yolov8n"), replace(api.rank("yolov10n"), model="another/model/with/a/long/name.pt"))


def plots(made: Sequence[Page]) -> list[Plot]:
    return [part for page in made for part in page.parts() if isinstance(part, Plot)]


def test_upright_bars() -> None:
    plot = rank_plot(RANKS[0], "rank")
    assert plot is not None
    axes = plot.draw(plot).axes[0]
    ranked = [row for row in RANKS[0].stages if row.ratio is not None]
    assert [bar.get_height() for bar in axes.patches] == [row.ratio for row in ranked]
    assert [label.get_text().split()[1] for label in axes.get_xticklabels()] == [str(row.stage) for row in ranked]
    (ticks,) = axes.collections
    assert [tuple(xy) for xy in ticks.get_offsets()] == [(n, row.null_ratio) for n, row in enumerate(ranked)]
    assert [text.get_text() for text in axes.texts] == [f"{row.rank}/{row.c_out}" for row in ranked]
    assert " ".join(axes.get_title(loc="left").split()) == (
        "yolov8n: singular values above 0.5 of the largest; untrained weights: these ranks say nothing about redundancy"
    )


def test_lying_bars() -> None:
    result = api.rank("yolov8n", at="all")
    plot = rank_plot(result, "rank")
    assert plot is not None
    axes = plot.draw(plot).axes[0]
    ranked = [row for row in result.stages if row.ratio is not None]
    assert [bar.get_width() for bar in axes.patches] == [row.ratio for row in ranked]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert [name.split()[0] for name in names] == [row.layer.removesuffix(".conv") for row in ranked]
    assert len({len(name) - len(name.split("  ")[0]) for name in names}) == 1  # numbers as wide as each other
    bottom, top = axes.get_ylim()
    assert bottom > top  # the lowest ratio is above
    assert "random matrix of that shape" in [text.get_text() for text in axes.figure.legends[0].get_texts()]


def test_a_line_for_each_model() -> None:
    plot = compared_plot(RANKS)
    axes = plot.draw(plot).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines() if not str(line.get_label()).startswith("_")}
    assert list(lines) == [
        "yolov8n (untrained)", "...del/with/a/long/name.pt (untrained)",
        "dotted, same colour: random matrices of those shapes",
    ]  # fmt: skip
    styles = [(line.get_linestyle(), line.get_marker()) for line in list(lines.values())[:2]]
    assert len(set(styles)) == 2  # told apart in grey
    for result, line in zip(RANKS, lines.values(), strict=False):
        assert dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) == result.ratios()
    assert axes.get_xlabel() == "stage" and axes.get_ylabel() == "rank / output channels"
    assert axes.get_ylim()[1] > max(ratio for result in RANKS for ratio in result.ratios().values())


def test_a_panel_for_each_spectrum() -> None:
    plot = spectra_plot(RANKS)
    assert plot is not None
    panels = plot.draw(plot).axes
    by_stage = {spectrum.stage: spectrum for spectrum in RANKS[0].spectra}
    for stage, axes in zip(sorted(by_stage), panels, strict=False):
        spectrum = by_stage[stage]
        assert axes.get_title(loc="left") == f"{stage}  {spectrum.layer.removesuffix('.conv')}"
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert {"yolov8n", RANDOM, THRESHOLD} <= set(lines)
        values = [value / spectrum.values[0] for value in spectrum.values]
        assert list(lines["yolov8n"].get_ydata()) == values
        assert list(lines[RANDOM].get_ydata()) == [value / spectrum.null[0] for value in spectrum.null]
        assert set(lines[THRESHOLD].get_ydata()) == {0.5}
        above = sum(value > 0.5 for value in values)
        assert above == next(row.rank for row in RANKS[0].stages if row.stage == stage)
    legend = [text.get_text() for text in panels[0].figure.legends[0].get_texts()]
    assert legend == ["yolov8n", "...del/with/a/long/name.pt", RANDOM, THRESHOLD]
    assert spectra_plot([replace(RANKS[0], spectra=())]) is None


@pytest.mark.parametrize(("rule", "lowest"), [("margin", 39.0), ("paper", 40.0)])
def test_marks_of_a_search(rule: str, lowest: float) -> None:
    base = BY_KIND["search"]
    assert isinstance(base, SearchResult)
    rejected = replace(TRIAL, stage=4, flops=800, ap_mean=0.3, verdict="rejected", changes=(Change(4, "cib"),))
    plot = search_plot(replace(base, rule=rule, trials=(TRIAL, rejected)))
    assert [row["mark"] for row in plot.rows] == [LOWEST, "your model", "base", "accepted", "rejected"]
    drawing = plot.draw(plot)
    upper, lower = drawing.axes
    level, kept = upper.get_lines()[:2]
    assert list(level.get_ydata()) == pytest.approx([lowest, lowest])
    assert list(kept.get_xdata()) == [1, 2] and list(kept.get_ydata()) == pytest.approx([40, 41])
    marks = [found for found in upper.collections if isinstance(found, PathCollection)]
    drawn = [tuple(xy) for dots in marks for xy in dots.get_offsets()]
    at_once, trained = [(1, 35), (2, 30), (3, 30)], [(0, 42), (1, 40), (2, 41), (3, 30)]
    assert drawn == [pytest.approx(xy) for xy in (*at_once, *trained)]
    (first, _) = (found.get_segments()[0] for found in upper.collections if isinstance(found, LineCollection))
    assert first.tolist() == [pytest.approx(xy) for xy in ((2, 39), (2, 43))]  # the interval of stage 8
    costs = {line.get_label(): list(line.get_ydata()) for line in lower.get_lines()}
    assert costs["parameters"] == pytest.approx([100, 100 * 100 / 120, 100 * 90 / 120, 100 * 90 / 120])
    assert costs["FLOPs"] == pytest.approx([100, 100 * 1000 / 1100, 100 * 900 / 1100, 100 * 800 / 1100])
    assert costs["time, one thread or GPU"] == pytest.approx([100, 100 * 8.5 / 9.5, 100 * 7.5 / 9.5, 100 * 7.5 / 9.5])
    names = [label.get_text() for label in lower.get_xticklabels()]
    assert names == ["your\nmodel", "light\nhead", "8:\ncib", "4:\ncib"]
    legend = [text.get_text() for text in upper.get_legend().get_texts()]
    limit = LOWEST_AP[rule][0].format("1 AP point")
    assert legend == [
        limit, "at once, before training", "your model as given", "base, trained", "trained, accepted",
        "trained, rejected",
    ]  # fmt: skip
    assert "64 px" in drawing.get_suptitle() and "builtin:shapes" in drawing.get_suptitle()


@pytest.mark.parametrize("rule", LOWEST_AP)
def test_the_line_of_a_rule_is_the_lowest_ap_that_it_accepts(rule: str) -> None:
    lowest, decide = LOWEST_AP[rule][1](0.4, 0.01), RULES[rule].decide
    runs = [((Run(0.4),) * 2, (Run(ap),) * 2) for ap in (lowest + 1e-9, lowest - 1e-6)]  # without noise
    answers = [decide(Evidence(*arms), Terms(0.01)) for arms in runs]
    assert [answer.word for answer in answers if isinstance(answer, Verdict)] == [ACCEPTED, REJECTED]


def test_a_rule_without_a_lowest_ap_has_no_line() -> None:
    base = BY_KIND["search"]
    assert isinstance(base, SearchResult)
    plot = search_plot(replace(base, rule="luck", trials=(TRIAL,)))
    assert [row["mark"] for row in plot.rows] == ["your model", "base", "accepted"]
    assert LOWEST not in {line.get_label() for line in plot.draw(plot).axes[0].get_lines()}


def test_what_can_be_had_by_the_cost_of_the_target() -> None:
    base = BY_KIND["search"]
    assert isinstance(base, SearchResult)
    predicted = FrontPoint((Change(4, "cib"),), 60, 500, 6.5, None, "predicted", 0.3)
    result = replace(base, target={"flops": 0.2}, front=(*base.front, predicted))
    plot = front_plot(result)
    axes = plot.draw(plot).axes[0]
    drawn = {dots.get_label(): [tuple(xy) for xy in dots.get_offsets()] for dots in axes.collections}
    assert drawn["at once, predicted"] == [pytest.approx((100 * (1 - 500 / 1100), 30))]
    assert drawn["trained, accepted"] == [pytest.approx((100 * (1 - 900 / 1100), 41))]
    assert axes.get_xlabel() == "saved FLOPs, % of your model"
    (target,) = (line for line in axes.get_lines() if line.get_label() == "target")
    assert list(target.get_xdata()) == [20, 20]
    times = front_plot(replace(result, target={"latency": 0.2}))
    assert times.rows[2]["saved"] == pytest.approx(100 * (1 - 6.5 / 9.5))


def test_curves_of_a_training() -> None:
    result = BY_KIND["train"]
    assert isinstance(result, TrainResult)
    plot = history_plot(result)
    assert plot is not None
    losses, matching, ap, shares = plot.draw(plot).axes
    assert {line.get_label(): list(line.get_ydata()) for line in losses.get_lines()} == {
        f"{name} loss": [row[name] for row in HISTORY] for name in ("box", "cls", "dfl")
    }
    assert [(x, pytest.approx(y)) for x, y in ap.get_lines()[0].get_xydata()] == [(1, 10.0), (3, 30.0)]
    assert list(matching.get_lines()[0].get_ydata()) == [row["gap"] for row in HISTORY]
    assert [line.get_label() for line in shares.get_lines()] == [f"in the best {n}" for n in (1, 5, 10)]
    single = tuple({name: row[name] for name in ("epoch", "box", "cls", "dfl")} for row in HISTORY[:1])
    plain = history_plot(replace(result, history=single))
    assert plain is not None and len(plain.draw(plain).axes) == 1
    assert history_plot(replace(result, history=())) is None


def test_bars_of_times() -> None:
    result = BY_KIND["latency"]
    assert isinstance(result, LatencyResult)
    plot = latency_plot(result)
    axes = plot.draw(plot).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0.0, 9.5), (0.0, 4.5)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["m  measured", "m  roofline"]
    assert [text.get_text() for text in axes.texts] == ["9.5", "4.5"]


def test_every_plot_format_is_written(tmp_path: Path) -> None:
    marks = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for plot in plots(pages(BY_KIND["rank"])):
        for ending, mark in marks.items():
            assert image(plot, ending).startswith(mark)
