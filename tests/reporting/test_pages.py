"""Pages of every kind of result: the same from a saved result as from a live one; plots draw their data."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.results import BY_KIND

from effscope import api
from effscope.errors import EffscopeError
from effscope.reporting.page import Page, Plot, Rows, Table, single
from effscope.reporting.pages import pages
from effscope.reporting.pages.counters import page as counters_page
from effscope.reporting.pages.gains import gains_table, in_words
from effscope.reporting.render import RENDERERS, markdown, terminal
from effscope.reporting.render import csv as csv_files
from effscope.reporting.render.figure import image
from effscope.reporting.write import publish, write
from effscope.results import (
    KINDS,
    CompareResult,
    Latency,
    RankResult,
    Result,
    SearchResult,
    TrainResult,
    load_result,
)

RANKS = (api.rank("yolov8n"), replace(api.rank("yolov10n"), model="another/model/with/a/long/name.pt"))


def shown(
    made: Sequence[Page],
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    details: bool = False,
) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    capsys.readouterr()
    for page in made:
        terminal.show(page, details)
    return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def plots(made: Sequence[Page]) -> list[Plot]:
    return [part for page in made for part in page.parts() if isinstance(part, Plot)]


def contents(page: Page) -> dict[str, bytes]:
    """The csv files of a page."""
    return {name: content() for name, content in csv_files.render(page, ()).items()}


@pytest.mark.parametrize("several", [*((kind,) for kind in KINDS), ("rank", "rank")], ids="+".join)
def test_a_saved_result_has_the_pages_of_the_live_one(
    several: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = RANKS if len(several) > 1 else (BY_KIND[several[0]],)
    results = tuple(result.relative_to(tmp_path / "a.json").beside(tmp_path / "a.json") for result in results)
    loaded = [load_result(result.save(tmp_path / f"{n}.json")) for n, result in enumerate(results)]
    assert loaded == list(results)
    live, again = pages(*results), pages(*(one for one in loaded if isinstance(one, Result)))
    for columns in (80, 120):
        text = shown(live, columns, monkeypatch, capsys)
        assert text == shown(again, columns, monkeypatch, capsys)
        assert text.strip()
    for one, other in zip(live, again, strict=True):
        assert markdown.text(one) == markdown.text(other)
        assert contents(one) == contents(other)
        assert one.name and one.title and len({page.name for page in live}) == len(live)
    assert plots(live) == plots(again)
    assert sum(len(page.parts()) for page in live) > 0


def test_a_saved_result_is_drawn_as_the_live_one(tmp_path: Path) -> None:
    for kind in ("rank", "latency", "search", "train"):
        loaded = load_result(BY_KIND[kind].save(tmp_path / "a.json"))
        assert isinstance(loaded, Result)
        for one, other in zip(plots(pages(BY_KIND[kind])), plots(pages(loaded)), strict=True):
            assert image(one, "png") == image(other, "png")


FILES = {
    "rank": ["orders.csv", "heads.csv", "rank.csv", "rank.json", "rank.md", "rank.png", "spectra.csv", "spectra.png"],
    "cost": ["cost.json", *(f"cost_by_{by}.{ext}" for by in ("layer", "stage", "op", "form") for ext in ("csv", "md"))],
    "tensors": ["cost.json", "cost_by_layer.csv", "cost_by_layer.md"],
    "layer_cost": ["cost.csv", "cost.json", "cost.md"],
    "latency": ["latency.csv", "latency.json", "latency.md", "latency.png"],
    "eval": ["confusion.csv", "confusion.png", "errors.csv", "eval.csv", "eval.json", "eval.md", "f1_curve.csv",
             "f1_curve.png", "pr_curve.csv", "pr_curve.png"],
    "compare": ["compare.json", "compare.md"],
    "train": ["history.csv", "history.png", "train.json", "train.md", "transfer.csv"],
    "search": ["ap_vs_cost.png", "baselines.csv", "heads.csv", "library.csv", "orders.csv", "rank.csv", "rank.json",
               "rank.md", "rank.png", "search.json", "spectra.csv", "spectra.png", "summary.md", "trials.csv"],
    **{kind: [f"{kind}.csv", f"{kind}.json", f"{kind}.md"]
       for kind in ("scale", "diff", "counters", "zoo", "devices", "export")},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_has_the_files_of_its_kind(kind: str, tmp_path: Path) -> None:
    files = write(pages(BY_KIND[kind]), tmp_path)
    assert sorted(files) == sorted(FILES[kind]) == sorted(file.name for file in tmp_path.iterdir())
    assert all(Path(path) == tmp_path / name for name, path in files.items())
    for file in tmp_path.glob("*.csv"):
        assert list(csv.DictReader(io.StringIO(file.read_text())))
    linked = [line.partition("](")[2].rstrip(")") for line in markdown_of(tmp_path) if line.startswith("![")]
    assert set(linked) == {name for name in files if name.endswith(".png")}


def markdown_of(folder: Path) -> list[str]:
    return [line for file in folder.glob("*.md") for line in file.read_text().splitlines()]


def test_plots_are_linked_only_where_they_are_written(tmp_path: Path) -> None:
    write(pages(BY_KIND["rank"]), tmp_path, ("md", "pdf"))
    assert not [line for line in markdown_of(tmp_path) if line.startswith("![")]
    write(pages(BY_KIND["rank"]), tmp_path, ("md", "svg"))
    assert [line[-9:] for line in markdown_of(tmp_path) if line.startswith("![")] == ["rank.svg)", "ctra.svg)"]
    assert set(RENDERERS) == {"csv", "md", "png", "svg", "pdf"}


def test_a_published_result_lists_its_files(tmp_path: Path) -> None:
    for kind, roles in (
        ("search", {"result", "trials", "summary", "plot", "rank", "rank plot", "library", "baselines"}),
        ("train", {"history", "plot", "summary", "result", "transfer"}),
        ("eval", {"result", "summary"}),
    ):
        folder = tmp_path / kind
        result = replace(BY_KIND[kind], files={"weights": str(folder / "w")})
        listed = publish(result, folder)
        assert {"weights", *roles} <= listed.files.keys()
        assert {Path(file) for role, file in listed.files.items() if role != "weights"} == set(folder.iterdir())
        assert load_result(folder) == listed
        saved = json.loads(Path(listed.files["result"]).read_text())
        assert saved["files"] == {what: Path(file).name for what, file in listed.files.items()}


def test_results_of_several_kinds_have_no_page() -> None:
    for wrong in ((), (BY_KIND["rank"], BY_KIND["cost"]), (BY_KIND["diff"], BY_KIND["diff"])):
        with pytest.raises(EffscopeError, match="pages show one result"):
            pages(*wrong)


def first_text(result: Result) -> str:
    part = pages(result)[0].sections[0].parts[0]
    return "" if isinstance(part, Table) else "\n".join(part.lines)  # type: ignore[union-attr]


def test_verdicts_and_warnings_come_first() -> None:
    assert first_text(BY_KIND["search"]).splitlines() == [
        "the chosen model is smaller than your model, but slower",
        "kept: stage 8",
        "stopped: every stage was tried",
        "judged by one run each: another seed may give another verdict",
        "a note",
        "wall time 0.1 min",
    ]
    assert "untrained weights" in first_text(RANKS[0])
    assert first_text(BY_KIND["tensors"]) == "not counted: the rest"
    assert first_text(api.cost("rtdetr-l", 64)).startswith("not counted: model.28.queries x 1")
    assert first_text(BY_KIND["latency"]) == first_text(BY_KIND["train"]) == first_text(BY_KIND["export"]) == "a note"
    assert first_text(BY_KIND["cost"]) == first_text(BY_KIND["diff"]) == ""


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


def width(table: Table) -> int:
    """Characters of a table on a terminal."""
    names = tuple(column.strip() for column in table.columns)
    wide = [max(len(cell) for cell in cells) for cells in zip(names, *table.rows, strict=True)]
    return sum(wide) + 2 * (len(wide) - 1)


@pytest.mark.parametrize("several", [*((kind,) for kind in KINDS), ("rank", "rank")], ids="+".join)
def test_every_table_fits_80_columns(
    several: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No row is broken, no cell is cut, also of the tables that only the details show."""
    made = pages(*(RANKS if len(several) > 1 else (BY_KIND[several[0]],)))
    text = shown(made, 80, monkeypatch, capsys, details=True)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for table in (part for page in made for part in page.parts() if isinstance(part, Table)):
        assert width(terminal.fitted(table, 80)) <= 80, table.title
        for row in terminal.fitted(table, 80).rows:
            assert all(cell.strip() in text for cell in row)


def test_a_table_that_is_too_wide_wraps_its_widest_text_and_cuts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "many words that say why a number is what it is " * 3
    wide = Table(
        "t", ("name", "why", "n"), (("model.22.cv3.0.1.conv", words.strip(), "1,234,567"),), frozenset({"name", "why"})
    )
    text = shown([single("a", BY_KIND["cost"], wide)], 80, monkeypatch, capsys)
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()).count("many words") == 3 and "model.22.cv3.0.1.conv" in text and "1,234,567" in text


def test_details_are_the_sections_after_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = pages(RANKS[0])
    answer, every = (shown(made, 80, monkeypatch, capsys, details) for details in (False, True))
    assert every.startswith(answer) and "further measures" in every.removeprefix(answer)
    assert "further measures" not in answer and "# Ranks of yolov8n" in markdown.text(made[0])


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


def test_a_comparison_says_its_verdict_and_which_noise_it_knows() -> None:
    result = BY_KIND["compare"]
    assert isinstance(result, CompareResult)
    assert first_text(result).splitlines() == [
        "B inconclusive: a note",
        "standard deviation of one run: 1.40 points; of the difference: 0.50 from the choice of 9 images",
    ]
    assert "the noise of training is not in the interval" in first_text(replace(result, run_sd=None))


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


def test_terms_are_shown_where_they_are_asked_for() -> None:
    result: Any = BY_KIND["counters"]
    tables = [
        [p.title for p in counters_page(result, explain).parts() if isinstance(p, Table)] for explain in (False, True)
    ]
    assert tables[0] == ["m at 64 px"]
    assert tables[1] == [
        "m at 64 px", "m at 64 px as fvcore counts it, MACs", "m at 64 px as torch counts it, FLOPs"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    api.train("yolov8n", out=folder, **SMALL)
    return folder


SMALL: dict[str, Any] = {"imgsz": 64, "epochs": 1, "batch": 4, "limit_train": 4, "limit_val": 4, "device": "cpu"}


def test_a_finished_training_is_found_again_and_another_is_refused(trained: Path) -> None:
    result = load_result(trained)
    assert isinstance(result, TrainResult)
    assert result.origin.config is not None and result.origin.config.limit_val == 4
    assert result.origin.data.keys() == {"train", "val"} and result.origin.weights
    said: list[str] = []
    assert api.train("yolov8n", out=trained, say=said.append, **SMALL) == result
    assert said[-1].endswith("holds this training and it is finished")
    with pytest.raises(EffscopeError, match="holds another training: `seed` and the starting weights differ"):
        api.train("yolov8n", out=trained, **SMALL, seed=1)


def test_an_evaluation_lists_the_files_it_wrote_and_no_other(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "foreign.txt").write_text("mine")
    words = ("eval", str(trained), "--data", "builtin:shapes", "--limit-val", "2", "--out", str(tmp_path))
    assert run(monkeypatch, *words) == 0
    printed = " ".join(capsys.readouterr().out.split("\n"))
    listed = printed.partition(f"files in {tmp_path}: ")[2].partition("next: ")[0].replace(" ", "").split(",")
    assert sorted([*listed, "foreign.txt"]) == sorted(file.name for file in tmp_path.iterdir())
    result: Any = load_result(tmp_path)
    assert {Path(file).name for file in result.files.values()} == set(listed)
    made = {f"{name}.{ext}" for name in ("pr_curve", "f1_curve", "confusion") for ext in ("csv", "png")}
    own = {"eval.json", "eval.md", "eval.csv", "images.csv", "detections.json", "picture_00.png", "picture_01.png"}
    assert own | made == set(listed)
    assert result.origin.data.keys() == {"val"}
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [row["image"] for row in rows] and {"image", "boxes", "detections", "ap"} == set(rows[0])


def test_a_rank_saved_by_the_command_line_opens_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "rank",
        "yolov8n",
        "--out",
        str(tmp_path / "o"),
        "--plots",
        "svg",
        "--json",
        str(tmp_path / "a.json"),
        "-q",
    )
    assert run(monkeypatch, *words) == 0
    assert capsys.readouterr().out == ""
    for found in (load_result(tmp_path / "o"), load_result(tmp_path / "a.json")):
        assert isinstance(found, RankResult)
        assert found.spectra == RANKS[0].spectra and plots(pages(found)) == plots(pages(RANKS[0]))
    assert sorted(file.suffix for file in (tmp_path / "o").iterdir()) == [
        ".csv", ".csv", ".csv", ".json", ".md", ".svg", ".svg",
    ]  # fmt: skip


def test_a_result_is_written_after_the_files_that_show_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a process that is killed between leaves no result that names files which are not there."""

    def fails() -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setitem(RENDERERS, "png", lambda page, formats: {"a.png": fails})
    for kind in ("train", "search"):
        with pytest.raises(KeyboardInterrupt):
            publish(BY_KIND[kind], tmp_path / kind)  # type: ignore[type-var]
        assert not list((tmp_path / kind).glob("*.json"))


def test_the_state_of_a_finished_training_is_deleted_when_it_is_found(trained: Path) -> None:
    (trained / "training.state").write_bytes(b"of a process that was killed after it wrote the result")
    api.train("yolov8n", out=trained, **SMALL)
    assert not (trained / "training.state").exists()
