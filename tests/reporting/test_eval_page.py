"""The page of an evaluation: what a terminal shows of few and of many classes, its plots, and older results."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import run
from support.results import BY_KIND

from effscope.reporting.page import Page, Plot, Table
from effscope.reporting.pages import pages
from effscope.reporting.pages.eval import LONGEST, errors_table, eval_table, shortened
from effscope.reporting.pages.train import train_table
from effscope.reporting.plots.eval import (
    FEW_BOXES,
    MOST_CELLS,
    MOST_LINES,
    confused_most,
    confusion_plot,
    cropped,
    f1_plot,
    pr_plot,
    shown_classes,
)
from effscope.reporting.render import markdown, terminal
from effscope.reporting.render.figure import image
from effscope.results import ClassScore, Confusion, Curve, ErrorKind, EvalResult, TrainResult

OLD: Any = BY_KIND["eval"]
NEW = {"classes", "score_cut", "precision", "recall", "f1", "data", "split", "curves", "confusion"}
"""Fields that results of older versions do not have."""


def many(n: int) -> EvalResult:
    """An evaluation of n classes, one with a very long name; class k has AP 1 - k / n and k boxes."""
    random = np.random.default_rng(n)
    names = [f"class {k}" for k in range(n)]
    names[3] = "a small thing with a name that nobody would write into a table (of another kind)"
    aps = [1 - k / n for k in range(n)]
    classes = tuple(
        ClassScore(name, k, ap / 2, ap, ap, ap, ap) for k, (name, ap) in enumerate(zip(names, aps, strict=True))
    )
    curves = tuple(Curve(name, (ap,) * 101, (ap / 2,) * 101) for name, ap in zip(names, aps, strict=True))
    counts = random.integers(0, 3, (n + 1, n + 1)) * (random.random((n + 1, n + 1)) < 0.05)
    counts[:n, :n] += np.diag(np.arange(n))
    counts[n, n] = 0
    if n > 7:
        counts[5, 7] = 1234
    mean = float(np.mean(aps))
    return replace(
        OLD, model="a_model_with_a_name", classes=classes, curves=curves, per_class=dict(zip(names, aps, strict=True)),
        confusion=Confusion(tuple(names), tuple(map(tuple, counts.tolist())), 0.25, 0.5), images=5000, boxes=36335,
        ap=mean / 2, ap50=mean, precision=mean, recall=mean, f1=mean, ap_se=0.012,
    )  # fmt: skip


def shown(page: Page, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    capsys.readouterr()
    terminal.show(page)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()


def tables(page: Page) -> list[Table]:
    return [part for part in page.parts() if isinstance(part, Table)]


@pytest.mark.parametrize("columns", [80, 120])
def test_eighty_classes_fit_one_line_each(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = many(80)
    (page,) = pages(result)
    lines = shown(page, columns, monkeypatch, capsys)
    assert max(map(len, lines)) <= columns
    head = next(k for k, line in enumerate(lines) if line.startswith("class "))
    assert lines[head].split() == ["class", "AP", "AP50", "P", "R", "F1", "boxes"]
    assert lines[head + 1].split() == ["all", "25.3", "50.6", "50.6", "50.6", "50.6", "36,335"]
    rows = lines[head + 2 : head + 82]
    assert [row.split()[-1] for row in rows] == [str(k) for k in range(80)]
    assert rows[3].startswith("a small thing with a ") and "…" in rows[3]
    assert lines[head + 82].startswith("AP 25.3 (standard error 1.2), AP75 50.0")
    text = " ".join(lines)
    assert "most confused: class 5 as class 7 1,234, " in text
    assert "score from 0.250" in text and "Ultralytics' val" in text
    assert any(line.startswith("error ") for line in lines)  # in the first section


def test_a_very_narrow_terminal_keeps_ap(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(pages(many(12))[0], 50, monkeypatch, capsys)
    head = next(line for line in lines if line.startswith("class "))
    assert "AP" in head.split() and "boxes" not in head.split()
    assert sum(line.startswith("class ") for line in lines) == 1 + 11


def test_two_long_names_that_would_be_cut_to_the_same_stay_whole() -> None:
    one, other = ("x" * 30 + middle + "y" * 30 for middle in "ab")
    assert shortened([one, other, "z" * 50]) == [one, other, cropped("z" * 50, LONGEST)]
    assert len(cropped("z" * 50, LONGEST)) == LONGEST and cropped("short") == "short"


def test_the_errors_say_gain_and_what_is_left_and_are_in_every_output() -> None:
    error = ErrorKind("both", 1300, 0.5, 0.45, 0.1, 0.05, 20)
    result = replace(OLD, errors=(error,))
    table = errors_table(result)
    assert table.columns == ("error", "AP gain", "AP without", "AP50 gain", "AP50 without", "at cut", "any score")
    assert table.rows == (("both", "+5.0", "45.0", "+10.0", "50.0", "20", "1,300"),)
    (page,) = pages(result)
    assert table in page.sections[0].parts
    assert "| both | +5.0 | 45.0 | +10.0 | 50.0 | 20 | 1,300 |" in markdown.text(page)
    assert "at cut" not in errors_table(replace(OLD, errors=(replace(error, at_cut=None),))).columns


def test_an_older_result_opens_and_shows_what_it_has() -> None:
    data = {key: value for key, value in OLD.to_dict().items() if key not in NEW}
    data["errors"] = [{key: value for key, value in one.items() if key != "at_cut"} for one in data["errors"]]
    old = EvalResult.from_dict(data)
    (page,) = pages(old)
    assert eval_table(old).columns == ("class", "AP", "AP50")
    assert eval_table(old).rows == (("all", "40.0", "60.0"), ("zelle", "40.0", ""), ("none", "-", ""))
    assert not [part for part in page.parts() if isinstance(part, Plot)]
    assert old.to_rows() == [{"class": "zelle", "ap": 0.4}, {"class": "none", "ap": None}]
    assert markdown.text(page)


def test_a_training_shows_precision_where_it_was_computed() -> None:
    trained = BY_KIND["train"]
    assert isinstance(trained, TrainResult)
    assert train_table(trained).columns == ("class", "AP", "AP50")
    full = replace(trained, classes=OLD.classes, score_cut=0.25, precision=0.75, recall=0.5, f1=0.6)
    assert train_table(full).columns == ("class", "AP", "AP50", "P", "R", "F1", "boxes")
    assert train_table(full).rows[1] == ("zelle", "40.0", "60.0", "75.0", "50.0", "60.0", "7")


def test_a_narrow_peak_of_f1_that_smoothing_hides_is_told() -> None:
    peak = Curve("zelle", (1.0,) * 101, (0.1, 0.2, 0.95, *(0.6,) * 98))
    told = "mean F1 is 95.0 at score 0.02, above the 60.0 of the table: a peak too narrow for the smoothed curve"
    assert told in eval_table(replace(OLD, curves=(peak,))).notes
    flat = replace(peak, f1=(0.1, 0.2, 0.64, *(0.6,) * 98))
    assert not [note for note in eval_table(replace(OLD, curves=(flat,))).notes if "smoothed curve" in note]


def test_the_counts_of_errors_are_tied_to_those_of_the_confusion_matrix() -> None:
    matrix = Confusion(("a", "b"), ((4, 2, 3), (0, 5, 1), (2, 1, 0)), 0.25, 0.5)
    at_cut = {"classification": 2, "localisation": 2, "both": 0, "duplicate": 1, "background": 0, "missed": 4}
    errors = tuple(ErrorKind(kind, 9, 0.5, 0.4, 0.0, 0.0, n) for kind, n in at_cut.items())
    result = replace(OLD, confusion=matrix, errors=errors, boxes=15)
    notes = errors_table(result).notes
    assert (
        "at cut, detections: 14 = 9 right + 5 wrong (2 of another class and 3 match no box); the first five kinds sum "
        "to 5"
    ) in notes
    assert (
        "at cut, boxes: 15 = 9 found + 6 not found as their class: 4 missed, 2 with one of the first two errors"
    ) in notes
    answer = eval_table(result).notes
    assert "15 boxes: 9 found, 2 as another class, 4 not found" in answer
    assert "14 detections: 9 right, 2 of another class, 3 match no box" in answer
    assert not [note for note in errors_table(replace(result, confusion=None)).notes if note.startswith("at cut")]


def test_markdown_shows_the_drawn_images() -> None:
    files = {"picture_00": "far/away/picture_00.png", "images": "far/away/images.csv"}
    (page,) = pages(replace(OLD, files=files))
    assert markdown.text(page).count("](picture_00.png)") == 1
    assert "picture" not in markdown.text(pages(OLD)[0])


def test_no_confusion_and_no_detection_are_said() -> None:
    matrix = Confusion(("zelle", "none"), ((0, 0, 7), (0, 0, 0), (0, 0, 0)), 0.25, 0.5)
    silent = ClassScore("zelle", 7, 0.0, 0.0, 1.0, 0.0, 0.0)
    notes = eval_table(replace(OLD, confusion=matrix, classes=(silent,))).notes
    assert "no two classes are confused" in notes and "7 boxes: 0 found, 0 as another class, 7 not found" in notes
    assert "0 detections: 0 right, 0 of another class, 0 match no box" in notes
    assert any(note.startswith("P 100 beside R 0") for note in notes)
    assert any("1 class without a box" in note for note in notes)


def legend(drawing: Any) -> list[str]:
    return [text.get_text() for text in drawing.legends[0].get_texts()]


def test_curves_of_a_few_classes() -> None:
    result = replace(many(5), data="sets/cells/data.yaml", split="val")
    for plot, scale in ((pr_plot(result), 1.0), (f1_plot(result), 0.5)):
        assert plot is not None
        assert plot.title.startswith("a_model_with_a_name on cells/data.yaml, 640 px (val, 5,000 images); ")
        drawing = plot.draw(plot)
        axes = drawing.axes[0]
        lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 101]
        assert len(lines) == 6
        for line, one in zip(lines, result.classes, strict=False):
            assert list(line.get_ydata()) == pytest.approx([one.ap50 * scale] * 101)
            assert list(line.get_xdata()) == [n / 100 for n in range(101)]
        assert list(lines[-1].get_ydata()) == pytest.approx([0.6 * scale] * 101)  # the mean
        styles = {(line.get_linestyle(), line.get_marker(), line.get_linewidth()) for line in lines}
        assert len(styles) == 6  # told apart without colour
        assert legend(drawing)[0].startswith("mean of the classes")
        assert "(0 to 1)" in axes.get_xlabel() and "(0 to 1)" in axes.get_ylabel()
    assert legend(drawing)[-1] == "cut of the table: 0.250"


def test_curves_of_many_classes_name_the_best_and_the_worst() -> None:
    result = many(80)
    named = [one.name for one in shown_classes(result.classes)]
    assert named == ["class 5", "class 6", "class 7", "class 77", "class 78", "class 79"]  # with boxes enough
    assert [one.boxes >= FEW_BOXES for one in shown_classes(result.classes)] == [True] * MOST_LINES
    plot = pr_plot(result)
    assert plot is not None
    drawing = plot.draw(plot)
    assert len(drawing.axes[0].get_lines()) == 81
    assert len(legend(drawing)) == 8 and legend(drawing)[-1].startswith("the other 74\n(named: 3 best, 3 worst")
    few = tuple(replace(one, boxes=1) for one in result.classes)
    assert [one.name for one in shown_classes(few)][:3] == ["class 0", "class 1", "class 2"]


def test_the_confusion_matrix_has_its_counts_and_of_many_classes_the_most_confused() -> None:
    plot = confusion_plot(OLD)
    assert plot is not None
    axes = plot.draw(plot).axes[0]
    texts = {(round(text.get_position()[0]), round(text.get_position()[1])): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "4", (1, 0): "2", (2, 0): "1", (0, 2): "1"}  # (column, row)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["zelle", "none", "not found"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["zelle", "none", "matches no box"]
    (shares,) = axes.get_images()
    assert np.asarray(shares.get_array())[0] == pytest.approx([400 / 7, 200 / 7, 100 / 7])
    result = many(80)
    assert result.confusion is not None
    chosen = confused_most(result.confusion)
    assert len(chosen) == MOST_CELLS and {5, 7} <= set(chosen) and chosen == sorted(chosen)
    large = confusion_plot(result)
    assert large is not None and len(large.rows) == (MOST_CELLS + 1) ** 2
    assert "15 of 80 classes" in large.title
    total = sum(result.confusion.counts[chosen[0]])
    first = [row for row in large.rows if row["row"] == 0]
    assert all(row["share"] == row["count"] / max(total, 1) for row in first)  # of the whole row, not of the part
    assert confusion_plot(replace(result, confusion=None)) is None
    assert image(large, "png")


def test_csv_of_the_command_line_has_the_errors_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("effscope.api.eval", lambda *_: OLD)
    assert run(monkeypatch, "eval", "m.pt", "--data", "d", "--errors", "--csv", str(tmp_path / "x.csv")) == 0
    assert [line.split(",")[0] for line in (tmp_path / "x.csv").read_text().splitlines()] == ["class", "all", "zelle"]
    kinds = (tmp_path / "x-errors.csv").read_text().splitlines()
    assert kinds == ["kind,count,ap50,ap,d_ap50,d_ap,at_cut", "both,3,0.5,0.4,0.1,0.05,2"]
