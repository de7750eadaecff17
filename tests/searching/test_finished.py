"""The end of a search: what stays in its folder, what is deleted and when; a finished one answers at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.scripted import Script
from support.small_detector import CLASSES
from support.tiny_search import SETTINGS, tiny_place

from effscope.checkpoint.write import write_safetensors
from effscope.config import SearchConfig, deciding, search_config, to_dict
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.results import SearchResult, load_result
from effscope.searching import run as run_module
from effscope.searching.context import Context
from effscope.searching.jobs import job_book
from effscope.searching.plan import Plan, plan_line
from effscope.workspace import Workspace, run_folder

ORDER = (2, 3, 1)
ACCEPTS_TWO = {frozenset(): 0.5, frozenset({2}): 0.5, frozenset({2, 3}): 0.5, frozenset({1, 2, 3}): 0.3}


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_place(tmp_path_factory.mktemp("finished"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "training_images_per_s", lambda *_: 100.0)
    monkeypatch.setattr(run_module, "pick_threads", lambda *_: 1)


def settings(place: Path, **given: Any) -> SearchConfig:
    return search_config(
        {"base": str(place / "tiny.yaml"), "data": str(place / "data" / "data.yaml"), **SETTINGS, **given}
    )


def published(result: SearchResult, folder: Path) -> SearchResult:
    result.save(folder / "search.json")
    return SearchResult.load(folder / "search.json")


def searched(
    monkeypatch: pytest.MonkeyPatch, config: SearchConfig, out: Path, script: Script | None = None
) -> tuple[SearchResult, list[str], Script]:
    """A search with scripted jobs: the result, the lines for the user, the script."""
    said, script = list[str](), script or Script(ORDER, ACCEPTS_TWO)
    monkeypatch.setattr(run_module, "execute", script)
    return run_module.search(config, out, say=said.append, publish=published), said, script


def test_a_finished_search_leaves_no_work_and_says_so(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result, said, _ = searched(monkeypatch, settings(place), out)
    assert not (out / "work").exists()
    assert said[-1] == f"removed {out / 'work'} (0 MB: weights and detections of every job); `keep_work` keeps it"
    assert all(Path(file).exists() for file in result.files.values())
    assert load_result(out) == result

    again, said, script = searched(monkeypatch, settings(place), out)
    assert again == result and not script.done
    assert said == [f"{out} holds this search and it is finished"]


def test_keep_work_keeps_it_and_is_no_other_search(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    kept, out = settings(place, keep_work=True), tmp_path / "out"
    result, said, script = searched(monkeypatch, kept, out)
    assert not any("removed" in line for line in said)
    for job in script.done:
        assert Workspace(out).kept(job) is not None
    _, said, script = searched(monkeypatch, settings(place), out)  # the same folder, the same search, now without
    assert not script.done and "removed" in said[-1] and not (out / "work").exists()

    books = [job_book(config, Context(config, 1, "cpu").inputs) for config in (kept, settings(place))]
    assert books[0] == books[1]
    folders = {run_folder("search", "m", "d", config, None) for config in (kept, settings(place))}
    assert len(folders) == 1 and to_dict(kept).keys() - deciding(kept) == {"keep_work"}
    assert result.origin.config == kept


def test_the_base_that_a_search_trained_is_handed_over(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    result, _, script = searched(monkeypatch, settings(place), tmp_path / "out")
    assert result.base_epochs == SETTINGS["base_epochs"]
    assert Path(result.files["base"]).read_bytes() == script.done[0].encode()  # the weights of the base job
    assert script.done[0].startswith("base-")


def stop_at(n: int) -> Callable[..., None]:
    calls = iter(range(1000))

    def stop(*_: object) -> None:
        if next(calls) == n:
            raise Killed

    return stop


@pytest.mark.parametrize("moment", ["before the result", "before the deletion", "within the deletion"])
def test_a_kill_at_the_end_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path, moment: str
) -> None:
    expected, _, _ = searched(monkeypatch, settings(place), tmp_path / "whole")
    out = tmp_path / "out"

    def killed(*_: object, **__: object) -> None:
        if moment == "within the deletion":
            next((out / "work").glob("base-*.safetensors")).unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        if moment == "before the result":
            patch.setattr(SearchResult, "save", killed)
        elif moment == "before the deletion":
            patch.setattr(Workspace, "clear", killed)
        else:
            patch.setattr(shutil, "rmtree", killed)
        searched(patch, settings(place), out)
    assert (out / "search.json").exists() is (moment != "before the result")
    found, _, script = searched(monkeypatch, settings(place), out)
    assert not script.done and not (out / "work").exists()
    assert comparable(found) == comparable(expected)
    for file in ("model.safetensors", "base.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def comparable(result: SearchResult) -> SearchResult:
    return replace(result, origin=replace(result.origin, command=""), files=dict.fromkeys(result.files, ""))


def test_a_folder_of_an_older_version_gets_its_base_before_the_work_goes(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _, _, script = searched(monkeypatch, settings(place, keep_work=True), out)
    (out / "base.safetensors").unlink()
    searched(monkeypatch, settings(place), out)
    assert (out / "base.safetensors").read_bytes() == script.done[0].encode() and not (out / "work").exists()


def test_a_result_that_cannot_be_read_is_made_again_or_named(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    out, config = tmp_path / "out", settings(place, keep_work=True)
    result, _, _ = searched(monkeypatch, config, out)
    (out / "search.json").write_text("{}")
    again, _, script = searched(monkeypatch, config, out)
    assert not script.done and comparable(again) == comparable(result)
    searched(monkeypatch, settings(place), out)
    (out / "search.json").write_text("{}")
    with pytest.raises(EffscopeError, match=r"search\.json.*: delete .* to search again"):
        searched(monkeypatch, settings(place), out)


def test_a_stopped_search_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    out, first = tmp_path / "out", Script(ORDER, ACCEPTS_TWO, after=stop_at(4))
    with pytest.raises(Killed):
        searched(monkeypatch, settings(place), out, first)
    _, said, script = searched(monkeypatch, settings(place), out)
    at_most = Plan.of(Context(settings(place), 1, "cpu")).jobs
    assert said[0] == f"continuing: 4 of at most {at_most} jobs are done"  # the fifth is done, not yet in the journal
    assert said[1].startswith("plan: ")
    assert len(first.done) + len(script.done) <= at_most


def test_the_plan_says_the_target_in_words(place: Path) -> None:
    for target, words in (
        (("params=-15%",), ", target: 15 % fewer parameters, "),
        (("flops=-30%", "latency=-2.5%"), ", target: 30 % fewer FLOPs and 2.5 % less time, "),
    ):
        context = Context(replace(settings(place), target=target), 1, "cpu")
        assert words in plan_line(context, Plan.of(context), 10.0, "out")
    context = Context(settings(place), 1, "cpu")
    assert "target" not in plan_line(context, Plan.of(context), 10.0, "out")


@pytest.mark.parametrize(("known", "said_first"), [(("crimson", "navy"), True), (CLASSES, False)])
def test_weights_of_other_classes_are_said_before_any_work(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path, known: tuple[str, ...], said_first: bool
) -> None:
    layout = open_model(str(place / "tiny.yaml")).layout
    write_safetensors(tmp_path / "w.safetensors", build(expand(layout)).state_dict(), metadata(layout, known, 64))
    order: list[str] = []
    monkeypatch.setattr(run_module, "pick_threads", lambda *_: order.append("measured") or 1)
    script = Script(ORDER, ACCEPTS_TWO, before=lambda job: order.append(job.kind))
    monkeypatch.setattr(run_module, "execute", script)
    config = settings(place, base=str(tmp_path / "w.safetensors"), head="keep")
    result = run_module.search(config, tmp_path / "out", say=order.append, publish=published)
    line = (
        "the weights of w know 2 classes (crimson, navy), the data has 2 classes (red, blue): the base gets new class "
        "towers and first trains 10 epochs"
    )
    assert (order[0] == line) is said_first and order[said_first] == "measured"
    assert (line in order) is said_first
    assert result.base_epochs == (10 if said_first else 0)
    assert ("base" in result.files) is said_first  # your own weights are not written again


def test_the_plan_names_the_data(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    _, said, _ = searched(monkeypatch, settings(place), tmp_path / "own")
    assert f"on 48 images of {place / 'data' / 'data.yaml'} at 64 px" in next(s for s in said if s.startswith("plan"))
    config = settings(place, data="builtin:shapes", limit_train=4, limit_val=2)
    _, said, _ = searched(monkeypatch, config, tmp_path / "shapes")
    drawn = "on 4 images of builtin:shapes (drawn by effscope: no data of yours) at 64 px"
    assert drawn in next(line for line in said if line.startswith("plan"))


def test_progress_counts_the_images_it_draws(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    texts: list[str] = []
    monkeypatch.setattr(run_module, "execute", Script(ORDER, ACCEPTS_TWO))
    config = settings(place, data="builtin:shapes", limit_train=4, limit_val=2)
    run_module.search(config, tmp_path / "out", lambda _, text: texts.append(text))
    counted = [text for text in texts if text.startswith("drawing images")]
    assert counted == [f"drawing images {n}/4" for n in (1, 2, 3, 4)] + ["drawing images 1/2", "drawing images 2/2"]
    assert texts.index("measuring the speed of this machine") > texts.index("drawing images 2/2")
    assert "base: starting" in texts and "cib at 2: short training" in texts
