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
from support.pages import contents, first_text, width
from support.results import BY_KIND

from effscope import api
from effscope.errors import EffscopeError
from effscope.reporting.page import Page, Plot, Table, single
from effscope.reporting.pages import pages
from effscope.reporting.pages.counters import page as counters_page
from effscope.reporting.render import RENDERERS, markdown, terminal
from effscope.reporting.render.figure import image
from effscope.reporting.write import publish, write
from effscope.results import (
    KINDS,
    CompareResult,
    RankResult,
    Result,
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


def test_a_comparison_says_its_verdict_and_which_noise_it_knows() -> None:
    result = BY_KIND["compare"]
    assert isinstance(result, CompareResult)
    assert first_text(result).splitlines() == [
        "B inconclusive: a note",
        "standard deviation of one run: 1.40 points; of the difference: 0.50 from the choice of 9 images",
    ]
    assert "the noise of training is not in the interval" in first_text(replace(result, run_sd=None))


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
