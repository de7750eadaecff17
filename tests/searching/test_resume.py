"""A search stopped at any job boundary ends as an undisturbed one: scripted jobs, real journal, records and result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted import Script
from support.small_detector import CLASSES
from support.tiny_search import SETTINGS, tiny_place

from effscope.checkpoint.write import write_safetensors
from effscope.config import search_config
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.results import SearchResult
from effscope.searching import context as context_module
from effscope.searching import run as run_module
from effscope.searching.context import Context
from effscope.searching.engines.local import LocalEngine
from effscope.searching.jobs import Job, Measurement, job_book
from effscope.searching.journal import Journal
from effscope.training import threads

ORDER = (2, 3, 1)
ACCEPTS_TWO = {frozenset(): 0.5, frozenset({2}): 0.52, frozenset({2, 3}): 0.45, frozenset({1, 2, 3}): 0.3}
REJECTS_ALL = {frozenset(): 0.5, frozenset({2}): 0.3}
ACCEPTS_ALL = {**ACCEPTS_TWO, frozenset({1, 2, 3}): 0.49}
SCRIPTS = {"two": ACCEPTS_TWO, "none": REJECTS_ALL, "all": ACCEPTS_ALL}


class Killed(BaseException):
    """Stops a search as SIGKILL would: nobody catches it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_place(tmp_path_factory.mktemp("resume"))


@pytest.fixture(autouse=True)
def no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "training_images_per_s", lambda *arguments: 100.0)


def searched(monkeypatch: pytest.MonkeyPatch, place: Path, out: Path, script: Script) -> dict[str, Any]:
    """`search.json` of a search with scripted jobs, times and paths left out."""
    monkeypatch.setattr(run_module, "execute", script)
    config = search_config({"base": str(place / "tiny.yaml"), "data": str(place / "data" / "data.yaml"), **SETTINGS})
    found = run_module.search(config, out)
    assert all(Path(file).exists() for file in found.files.values())
    data: dict[str, Any] = json.loads(found.save(out / "search.json").read_text())
    del data["origin"]
    return data


def stop_at(n: int) -> Callable[[Job], None]:
    """Stops at the n-th call, from 0."""
    calls = iter(range(1000))

    def stop(job: Job) -> None:
        if next(calls) == n:
            raise Killed

    return stop


@pytest.mark.parametrize(
    ("name", "moment"), [("two", "before"), ("two", "after"), ("two", "journal"), ("none", "before"), ("all", "after")]
)
def test_every_job_boundary(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path, name: str, moment: str
) -> None:
    """Stopped before a job, between its record and the journal, and behind the journal: each at every job."""
    undisturbed = Script(ORDER, SCRIPTS[name])
    expected = searched(monkeypatch, place, tmp_path / "whole", undisturbed)
    assert {"none": 1, "two": 3, "all": 3}[name] == len(expected["trials"])
    for n in range(len(undisturbed.done)):
        out, first, second = tmp_path / f"{n}", Script(ORDER, SCRIPTS[name]), Script(ORDER, SCRIPTS[name])
        with monkeypatch.context() as patch:
            if moment == "journal":
                append, stop = Journal.append, stop_at(n)

                def appended(journal: Journal, found: Measurement, append: Any = append, stop: Any = stop) -> None:
                    append(journal, found)
                    stop(found)

                patch.setattr(Journal, "append", appended)
            else:
                setattr(first, moment, stop_at(n))
            with pytest.raises(Killed):
                searched(patch, place, out, first)
        assert not (out / "search.json").exists()
        resumed = searched(monkeypatch, place, out, second)
        assert resumed == expected, n
        assert first.done + second.done == undisturbed.done  # nothing twice, nothing left out
        assert (out / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_notes_of_every_job_are_in_the_result(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    found = searched(monkeypatch, place, tmp_path / "out", Script(ORDER, ACCEPTS_TWO))
    notes = [note for note in found["notes"] if note.startswith("note of ")]
    assert notes[:3] == ["note of base base", "note of rank base", "note of run base"]
    assert len(notes) == 3 + 3 * len(found["trials"]) + 2
    assert [t["verdict"] for t in found["trials"]] == ["accepted", "accepted", "rejected"]
    assert found["accepted"] == [{"stage": 2, "move": "cib"}, {"stage": 3, "move": "cib"}]
    assert found["seconds"] == len(notes)


def test_a_lost_artefact_is_made_again(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    """A record whose weights were cut does not count: the job is done again when it is not in the journal yet."""
    first = Script(ORDER, ACCEPTS_TWO, after=stop_at(4))
    with pytest.raises(Killed):
        searched(monkeypatch, place, tmp_path / "out", first)
    (tmp_path / "out" / "work" / f"{first.done[-1]}.safetensors").write_bytes(b"")
    second = Script(ORDER, ACCEPTS_TWO)
    searched(monkeypatch, place, tmp_path / "out", second)
    assert second.done[0] == first.done[-1]


def test_a_journal_of_another_search_is_refused(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        searched(monkeypatch, place, tmp_path / "out", Script(ORDER, ACCEPTS_TWO, after=stop_at(2)))
    Journal(tmp_path / "out" / "journal.jsonl").append(Measurement("run-9", "run", ap=0.1))
    with pytest.raises(EffscopeError, match="unknown measurement 'run-9': the search waits for"):
        searched(monkeypatch, place, tmp_path / "out", Script(ORDER, ACCEPTS_TWO))


class Backwards(LocalEngine):
    """An engine that finishes the last job first."""

    def completed(self) -> Any:
        self._waiting = dict(reversed(self._waiting.items()))
        return super().completed()


def test_the_order_in_which_jobs_finish_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    expected = searched(monkeypatch, place, tmp_path / "whole", Script(ORDER, ACCEPTS_TWO))
    monkeypatch.setattr(run_module, "LocalEngine", Backwards)
    script = Script(ORDER, ACCEPTS_TWO)
    assert searched(monkeypatch, place, tmp_path / "backwards", script) == expected
    journals = [(tmp_path / name / "journal.jsonl").read_text() for name in ("whole", "backwards")]
    assert journals[0] == journals[1]


def test_an_engine_drops_a_job_that_waits() -> None:
    done: list[str] = []
    engine = LocalEngine(lambda job: done.append(job.id) or Measurement(job.id, job.kind))  # type: ignore[func-returns-value]
    jobs = [Job("start", (), n, "x") for n in range(3)]
    for job in (*jobs, jobs[0]):
        engine.submit(job)
    engine.cancel(jobs[1])
    assert [found.job for found in engine.completed()] == done == [jobs[0].id, jobs[2].id]


def test_a_damaged_record_is_no_record(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    """Cut, or of another job: the job is done again. And the state of its training goes when it is found finished."""
    for n, facts in enumerate(({}, [], {"job": "run-9", "kind": "run"}, None)):
        out, first = tmp_path / str(n), Script(ORDER, ACCEPTS_TWO, after=stop_at(4))
        with pytest.raises(Killed):
            searched(monkeypatch, place, out, first)
        file = out / "work" / f"{first.done[-1]}.json"
        if facts is not None:
            file.write_text(json.dumps({**json.loads(file.read_text()), "facts": facts}))
        file.with_suffix(".training").write_bytes(b"state")
        second = Script(ORDER, ACCEPTS_TWO)
        searched(monkeypatch, place, out, second)
        assert (second.done[0] == first.done[-1]) == (facts is not None)
        assert file.with_suffix(".training").exists() == (facts is not None)  # here `execute` deletes it


@pytest.mark.parametrize("lost", ["base", "fit", "run", "rank"])
def test_a_search_that_has_lost_files_says_which_and_makes_them_again(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path, lost: str
) -> None:
    """The model that was handed over is not replaced by half a file."""
    out, first = tmp_path / "out", Script(ORDER, ACCEPTS_TWO)
    expected = searched(monkeypatch, place, out, first)
    whole = (out / "model.safetensors").read_bytes()
    (out / "search.json").unlink()
    for file in (out / "work").glob(f"{lost}-*.safetensors"):
        file.write_bytes(file.read_bytes()[:4])
    with pytest.raises(
        EffscopeError, match=rf"files of the job {lost}-.* are lost or damaged: delete .*journal\.jsonl"
    ):
        searched(monkeypatch, place, out, first)
    assert (out / "model.safetensors").read_bytes() == whole
    (out / "journal.jsonl").unlink()
    second = Script(ORDER, ACCEPTS_TWO)
    assert searched(monkeypatch, place, out, second) == expected
    assert {job.split("-")[0] for job in second.done} == {lost}


def test_the_result_is_written_while_the_folder_is_locked(
    monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_module, "execute", Script(ORDER, ACCEPTS_TWO))
    seen: list[bool] = []

    def publish(result: SearchResult, folder: Path) -> SearchResult:
        seen.append((folder / ".owner.json").exists())
        return result

    config = search_config({"base": str(place / "tiny.yaml"), "data": str(place / "data" / "data.yaml"), **SETTINGS})
    run_module.search(config, tmp_path / "out", publish=publish)
    assert seen == [True]


def test_the_data_are_listed_once(monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path) -> None:
    listed: list[str] = []
    load_splits = context_module.load_splits
    monkeypatch.setattr(
        context_module, "load_splits", lambda *arguments: listed.append("once") or load_splits(*arguments)
    )
    searched(monkeypatch, place, tmp_path / "out", Script(ORDER, ACCEPTS_TWO))
    assert listed == ["once"]


@pytest.mark.parametrize(("others", "busy"), [(30.0, True), (0.0, False)])
def test_a_search_names_a_busy_machine_before_its_plan(
    others: float, busy: bool, monkeypatch: pytest.MonkeyPatch, place: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(threads, "cores_of_others", lambda: others)
    monkeypatch.setattr(run_module, "execute", Script(ORDER, ACCEPTS_TWO))
    config = search_config({"base": str(place / "tiny.yaml"), "data": str(place / "data" / "data.yaml"), **SETTINGS})
    said: list[str] = []
    for _ in range(2):  # a search that has finished has no work to do
        run_module.search(config, tmp_path / "out", say=said.append)
    assert [line.partition(":")[0] for line in said] == ["this machine is busy"] * busy + ["plan"]


def test_the_classes_that_weights_know_decide_every_job(place: Path, tmp_path: Path) -> None:
    """With other names the base is trained and its class tower starts fresh, whatever the tensors."""
    layout = open_model(str(place / "tiny.yaml")).layout
    state, books = build(expand(layout)).state_dict(), []
    for classes in (CLASSES, ("crimson", "navy")):
        write_safetensors(tmp_path / "w.safetensors", state, metadata(layout, classes, 64))
        settings = {"base": str(tmp_path / "w.safetensors"), "data": str(place / "data" / "data.yaml"), **SETTINGS}
        books.append(job_book(search_config(settings), Context(search_config(settings), 1, "cpu").inputs))
    assert books[0].base().id != books[1].base().id
