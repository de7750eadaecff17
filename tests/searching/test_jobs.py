"""Jobs: the id follows from everything that decides the outcome, and from nothing else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from effscope.config import DistilConfig, SearchConfig
from effscope.recipes import RECIPES
from effscope.results import Change, Latency
from effscope.searching.jobs import DECIDING, Job, Measurement, job_book

CIB8, CIB4 = Change(8, "cib"), Change(4, "cib")
INPUTS = {"layout": "a", "weights": "b", "train": "c", "val": "d", "threads": 2, "device": "cpu"}
CONFIG = SearchConfig()
OTHERS: dict[str, Any] = {
    "base": "yolov8s", "weights": "a.pt", "data": "d.yaml", "moves": ("cib-lk",), "order": "damage",
    "target": ("params=-30%",), "library_only": True, "latency_table": "t.csv", "labels": "none",
    "against": "o.pt", "finish_epochs": 3,
    "head": "keep", "rule": "paper",
    "margin": 0.5, "runs": 3, "budget": "2h", "runtime": "torch", "at": "block", "threshold": 0.4, "imgsz": 320,
    "base_epochs": 3, "epochs": 2, "batch": 4, "seed": 9, "device": "cuda", "limit_train": 3, "limit_val": 3,
    "learned_ap": 0.1, "distil": DistilConfig(steps=2),
    "recipe": RECIPES["paper"], "proxy_recipe": RECIPES["paper"], "keep_work": True,
}  # fmt: skip
THROUGH_INPUTS = {"data", "limit_train", "limit_val", "device"}
"""Settings whose effect is in the digests of the data and in the device of `inputs`."""
UNDECIDING = {
    "moves", "order", "target", "library_only", "latency_table", "rule", "runs", "budget", "learned_ap", "keep_work",
}  # fmt: skip
"""Settings that choose among jobs, or judge them, and change no outcome."""

WITHOUT_WEIGHTS = {"pieces", "pace"}
"""Jobs that need no other job: they time layouts."""


def jobs(config: SearchConfig = CONFIG, inputs: dict[str, Any] = INPUTS, rival: str = "") -> dict[str, Job]:
    book = job_book(config, inputs, rival)
    found = (
        book.base(), book.rank(), book.fit(CIB8), book.start([CIB8]), book.run([CIB8]), book.time([(), (CIB8,)]),
        book.pieces([CIB8]), book.pace([CIB8]), book.finish([CIB8]), book.baselines([CIB8]),
    )  # fmt: skip
    return {job.kind: job for job in found}


def test_every_setting_is_accounted_for() -> None:
    deciding = {name for names in DECIDING.values() for name in names} | {"seed"}
    assert deciding | THROUGH_INPUTS | UNDECIDING == {f.name for f in fields(SearchConfig)} == set(OTHERS)
    assert set(jobs()) == set(DECIDING)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_a_setting_changes_the_jobs_it_decides_and_those_that_need_them(name: str) -> None:
    before, after = jobs(), jobs(replace(CONFIG, **{name: OTHERS[name]}))
    changed = {kind for kind in before if before[kind].id != after[kind].id}
    own = {kind for kind, names in DECIDING.items() if name in names} | (set(DECIDING) if name == "seed" else set())
    needing = (
        own | (set(DECIDING) - WITHOUT_WEIGHTS)
        if "base" in own
        else own | ({"start", "run", "time"} if "fit" in own else set())
    )
    needing |= {"time"} if "run" in own else set()
    assert changed == (set() if name in UNDECIDING | THROUGH_INPUTS else needing)


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_every_input_changes_every_job(name: str) -> None:
    before, after = jobs(), jobs(inputs={**INPUTS, name: "other"})
    assert all(before[kind].id != after[kind].id for kind in before)


def test_another_model_changes_only_what_stands_beside_it() -> None:
    before, after = jobs(), jobs(rival="other weights")
    assert {kind for kind in before if before[kind].id != after[kind].id} == {"baselines"}


def test_a_fitted_stage_depends_on_no_other_change_and_a_variant_on_no_order() -> None:
    book = job_book(CONFIG, INPUTS)
    assert book.run([CIB8, CIB4]) == book.run([CIB4, CIB8])
    assert book.start([CIB8, CIB4]).needs == (book.base().id, book.fit(CIB4).id, book.fit(CIB8).id)
    assert book.run([CIB8], 0).id != book.run([CIB8], 1).id
    assert book.run([CIB8], 1).seed == CONFIG.seed + 1
    ids = [book.run([Change(stage, move)]).id for stage in range(1, 9) for move in ("cib", "cib-lk")]
    assert len(set(ids)) == len(ids)


def test_ids_are_file_names_that_a_person_can_read() -> None:
    book = job_book(CONFIG, INPUTS)
    assert book.run([CIB8, CIB4]).id.startswith("run-4cib-8cib-")
    many = book.run([Change(stage, "cib-lk") for stage in range(1, 20)]).id
    assert len(many) < 64
    assert all(ch.isalnum() or ch == "-" for ch in many)


def test_a_measurement_survives_json() -> None:
    one = Measurement(
        "time-1",
        "time",
        ap=0.5,
        order=(8, 4),
        error=0.25,
        latency={"a": Latency(1.5, 0.1, 1.0)},
        notes=("n",),
        seconds=2.0,
    )
    assert Measurement.from_dict(json.loads(json.dumps(one.to_dict()))) == one
