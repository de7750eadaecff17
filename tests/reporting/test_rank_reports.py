"""What a ranking looks like: tables that fit, files whole and in the formats asked for."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import run

from effscope import api
from effscope.errors import EffscopeError
from effscope.reporting.page import Table, Text
from effscope.reporting.pages import pages
from effscope.reporting.pages.heads import heads_table
from effscope.reporting.pages.rank import UNTRAINED, compared_table, measures_table, rank_table, warning_text
from effscope.reporting.pages.rank_order import order_notes, orders_table
from effscope.reporting.render import PLAIN, plot_formats
from effscope.reporting.render.figure import ENDINGS
from effscope.reporting.render.markdown import table as to_markdown
from effscope.reporting.render.terminal import fitted
from effscope.reporting.write import write
from effscope.results import SHAPES, HeadUse, OrderVariant, RankDefinition, RankResult, StageRank

MADE = api.rank("yolov8n")


def write_rank(folder: Path, results: Sequence[RankResult], plots: Sequence[str] = ENDINGS[:1]) -> dict[str, str]:
    return write(pages(*results), folder, (*PLAIN, *plots))


def row(stage: int, ratio: float | None, **more: object) -> StageRank:
    rank = None if ratio is None else round(ratio * 64)
    facts = {"null_ratio": 0.5, "effective_rank": 50.0, "stable_rank": 9.0, "top_gap": 1.1} if rank is not None else {}
    return StageRank(stage, f"model.{stage}.cv2.conv", (64, 96), 64, rank, ratio, **facts | more)  # type: ignore[arg-type]


def made(*rows: StageRank, **more: object) -> RankResult:
    definition = RankDefinition("stage", 0.5, True, True, "checkpoint", "weights")
    order = tuple(r.stage for r in rows if r.ratio is not None)
    facts = {"model": "best", "source": "made", "definition": definition, "stages": rows, "order": order}
    return RankResult(**facts | {"origin": MADE.origin} | more)  # type: ignore[arg-type]


def test_marks_and_notes_say_what_is_odd() -> None:
    result = made(
        row(2, 0.25, tie=(4,)), row(4, 0.25, tie=(2,), threshold_tie=True),
        row(1, 0.3, spike=True, rank_without_top=60, separability_1=0.4, separability_2=0.6),
        row(3, None, note="depthwise: no rank"), ties=((2, 4),), unsettled=((2, 4, 1),),
        stability=(OrderVariant("threshold 0.3", (2, 4, 1), (), 0.5), OrderVariant("threshold 0.7", (4, 2, 1), (), 0.9),
                   OrderVariant("raw weights", (1, 2, 4), (), None), OrderVariant("model other", (1, 2), (), -1.0)),
        notes=("eps: 1e-07, as stored",),
    )  # fmt: skip
    table = rank_table(result)
    assert [(r[0], r[6]) for r in table.rows] == [("2", "="), ("4", "=~"), ("1", "!"), ("3", "")]
    assert "depthwise" in " ".join(table.rows[3])
    text = "\n".join(table.notes)
    for said in (
        "= equal ratio", "~ a singular value is equal to",
        "! one very large singular value makes the count small: without it stage 1 has 60/64",
        "order to try: 2 = 4, 1",
        "not sure: no stage is in the lower half by every definition tried (thresholds 0.3 to 0.7, raw weights)",
        "stage 3: depthwise: no rank", "random:", "eps: 1e-07", "batch norm folded in",
    ):  # fmt: skip
        assert said in text, said
    orders = orders_table(result)
    assert orders is not None
    assert orders.rows == (
        ("threshold 0.3", "0.50", "2, 4, 1"), ("threshold 0.7", "0.90", "4, 2, 1"), ("raw weights", "-", "1, 2, 4"),
        ("other", "-1.00", "1, 2"),
    )  # fmt: skip
    measures = measures_table(result)
    assert measures is not None and measures.rows[2] == ("1", "model.1.cv2", "50", "9.0", "1.10", "0.40", "0.60")


def order_of(*stages: int, name: str = "threshold 0.3", ties: tuple[tuple[int, ...], ...] = ()) -> OrderVariant:
    return OrderVariant(name, stages, ties, 0.5)


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ((order_of(2, 1, 4, 3), order_of(1, 2, 3, 4, name="raw weights")), "sure: stages 1, 2 are in the lower half"),
        ((order_of(1, 3, 2, 4),), "sure: stage 1 is in the lower half"),
        ((order_of(1, 2, 3, 4, ties=((2, 3),)),), "sure: stage 1 is in the lower half"),  # 2 and 3 are equal
        ((order_of(3, 4, 1, 2),), "not sure: no stage is in the lower half"),
        ((order_of(1, 2, 3, 4), order_of(4, 3, 2, 1, name=SHAPES)), "sure: stages 1, 2 are in the lower half"),
    ],
)
def test_what_is_sure_of_the_order_is_what_every_definition_says(variants: tuple[OrderVariant, ...], said: str) -> None:
    rows = [row(n, 0.1 * n) for n in range(1, 5)]
    result = made(*rows, unsettled=((1, 2, 3, 4),), stability=variants)
    assert any(line.startswith(said) for line in order_notes(result))
    settled = order_notes(replace(result, unsettled=()))
    assert any(line.startswith("sure: every definition tried") for line in settled)


def test_an_order_that_the_shapes_explain_is_told() -> None:
    rows = [row(n, 0.1 * n) for n in range(1, 5)]
    said = [
        any(line.startswith("caution: the shapes alone") for line in order_notes(made(*rows, stability=(
            OrderVariant(SHAPES, (1, 2, 3, 4), (), tau),
        ))))
        for tau in (0.9, 0.5, None)
    ]  # fmt: skip
    assert said == [True, False, False]


def test_untrained_weights_have_no_order_to_try() -> None:
    assert MADE.definition.weights == "random" and MADE.order
    assert order_notes(MADE) == []
    assert "order to try" not in to_markdown(rank_table(MADE)) and "redundant" not in rank_table(MADE).title


def test_a_plain_result_says_nothing_odd() -> None:
    text = "\n".join(rank_table(made(row(1, 0.2), row(2, 0.4))).notes)
    assert not re.search(r"^[=~!] |sure|caution|equal|untrained", text, re.MULTILINE)
    assert "order to try: 1, 2" in text
    assert "no stage can be ranked" in rank_table(made(row(1, None, note="depthwise"))).notes


def test_outputs_and_random_weights_are_told() -> None:
    definition = replace(made().definition, of="activations over 3 images", centred=False, threshold="energy:0.9")
    text = "\n".join(rank_table(made(row(1, 0.2, null_ratio=None), definition=definition)).notes)
    assert "the fewest singular values that hold 90 % of the energy" in text
    assert "mean not subtracted, activations over 3 images" in text
    assert "random:" not in text
    assert warning_text(MADE) == Text((UNTRAINED,)) and warning_text(made(row(1, 0.2))) is None


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_columns_are_left_out_until_the_table_fits(width: int) -> None:
    full = rank_table(MADE)
    table = fitted(full, width)
    cells = [[len(c.strip()) for c in r] for r in (table.columns, *table.rows)]
    used = sum(max(column) for column in zip(*cells, strict=True)) + 2 * (len(table.columns) - 1)
    assert used <= width
    assert ("in a wider terminal also:" in table.notes[-1]) == (table.columns != full.columns)
    assert all(column in table.columns for column in ("stage", "layer", "rank", "ratio", "random"))
    assert all(len(r) == len(table.columns) for r in table.rows)
    if width == 120:
        assert table == full


def test_tables_without_narrow_columns_stay_as_they_are() -> None:
    table = Table("t", ("a", "b"), (("x" * 90, "y" * 90),))
    assert fitted(table, 80) == table


@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal_shows_no_broken_row(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(monkeypatch, "rank", "yolov8n") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= columns
    assert sum("model." in line for line in lines) == 8


def test_models_side_by_side() -> None:
    results = api.ranks(["yolov8n", "yolov8n", "yolov8s"])
    table = compared_table(results)
    assert table.columns == ("stage", "yolov8n", "yolov8n (2)", "yolov8s")
    assert [r[0] for r in table.rows] == [str(n) for n in range(1, 9)]
    assert all(r[1] == r[2] == f"{results[0].ratios()[int(r[0])]:.2f}" for r in table.rows)
    assert "yolov8n (2) 1.00" in table.notes[0]


def test_heads_are_one_line_a_layer() -> None:
    uses = (
        HeadUse("a.attn.softmax", 1, 2, 49, 3.0, 0.77, 0.9, 2, 0.9),
        HeadUse("a.attn.softmax", 2, 2, 49, 3.5, 0.9, 0.9, 1, 0.9),
        HeadUse("b", 1, 1, 9, 1.0, 0.45),
    )  # fmt: skip
    table = heads_table(made(row(1, 0.2), attention=uses))
    assert table.rows == (
        ("a.attn", "2", "49", "0.77-0.90", "0.90", "1, 2: 0.90"), ("b", "1", "9", "0.45-0.45", "-", "-")
    )  # fmt: skip


@pytest.mark.parametrize("models", [["yolov8n"], ["yolov8n", "yolov8n"]], ids=["one", "two"])
def test_everything_is_written_in_every_format(models: list[str], tmp_path: Path) -> None:
    results = api.ranks(models)
    files = write_rank(tmp_path, results, ENDINGS)
    assert all(Path(f).stat().st_size for f in files.values())
    marks = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    drawn = ["spectra", *(["compared"] if len(models) > 1 else ["rank"])]
    for name in drawn:
        for ext, mark in marks.items():
            assert (tmp_path / f"{name}.{ext}").read_bytes().startswith(mark)
    rows = list(csv.DictReader((tmp_path / "spectra.csv").open()))
    assert len(rows) == len(models) * sum(min(r.shape) for r in results[0].stages)
    first = [float(r["of_largest"]) for r in rows if r["stage"] == "1"][:32]
    assert first[0] == 1.0 and first == sorted(first, reverse=True)
    for r in results[0].stages:
        counted = [x for x in rows if int(x["stage"]) == r.stage and float(x["of_largest"]) > 0.5]
        assert len(counted) == len(models) * (r.rank or 0)
    assert len(list(csv.DictReader((tmp_path / "orders.csv").open()))) == sum(len(r.stability) for r in results)
    assert not list(tmp_path.glob("*.tmp*"))


def test_saved_results_come_back_with_their_spectra(tmp_path: Path) -> None:
    write_rank(tmp_path, [MADE])
    loaded = RankResult.load(tmp_path / "rank.json")
    assert loaded == MADE and loaded.spectra == MADE.spectra != ()


def test_a_model_whose_every_convolution_is_depthwise_is_written_too(tmp_path: Path) -> None:
    files = write_rank(tmp_path, [made(row(1, None, note="depthwise"))])
    assert set(files) == {"rank.json", "rank.csv", "rank.md"}


def test_formats_are_read_as_people_write_them() -> None:
    assert plot_formats("PNG, svg,") == ("png", "svg")


def test_models_without_a_rank_stand_beside_others(tmp_path: Path) -> None:
    none = made(row(1, None, note="depthwise"), model="none")
    files = write_rank(tmp_path, [none, MADE])
    assert Path(files["spectra.png"]).exists()
    assert "some stages are other layers than in none: yolov8n" in compared_table([none, MADE]).notes


def test_names_that_would_be_one_file_are_two(tmp_path: Path) -> None:
    write_rank(tmp_path, [made(row(1, 0.2), model=name) for name in ("a b", "a/b", "a-b")])
    assert len(list(tmp_path.glob("rank-*.json"))) == 3


def test_long_notes_push_no_column_out() -> None:
    rows = tuple(row(n, None, note="depthwise: each filter sees one channel, " * 3) for n in range(1, 4))
    table = fitted(rank_table(made(row(4, 0.3), *rows)), 120)
    assert {"random", "rank", "shape"} <= set(table.columns)
    assert any(note.startswith("stages 1, 2, 3: depthwise") for note in table.notes)


def test_markdown_keeps_every_column() -> None:
    head = to_markdown(rank_table(MADE)).splitlines()[2]
    assert head.count("|") == len(rank_table(MADE).columns) + 1


@pytest.mark.parametrize("flag", ["--plots", "--pictures"])
@pytest.mark.parametrize("text", ["gif", "png,jpg"])
def test_unknown_plot_formats_are_refused_before_any_work(
    text: str, flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "rank", "yolov8n", "--out", str(tmp_path / "o"), flag, text) == 2
    assert "choose one of png, svg, pdf" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    with pytest.raises(EffscopeError):
        plot_formats(text)
