"""A search stopped at any job boundary ends as an undisturbed one: scripted jobs, real journal, records and result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.scripted import Script
from support.tiny_search import SETTINGS, tiny_place

from effscope.config import search_config
from effscope.errors import EffscopeError
from effscope.searching import run as run_module
from effscope.searching.engines.local import LocalEngine
from effscope.searching.jobs import Job, Measurement
from effscope.searching.journal import Journal

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
    assert len(notes) == 3 + 3 * len(found["trials"]) + 1
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
