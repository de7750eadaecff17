"""Whole searches on a detector of three stages that has learned: files, verdicts, resuming, refusing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
import torch
from support.small_detector import CLASSES
from support.tiny_search import LAYOUT, SETTINGS, search_tiny, tiny_place, train_tiny

from effscope import api
from effscope.checkpoint.read import read_checkpoint
from effscope.config import DistilConfig
from effscope.errors import EffscopeError, NegativeAnswer
from effscope.models.open import open_model
from effscope.progress import silent, unsaid
from effscope.reporting.pages.gains import chosen_ap
from effscope.results import ACCEPTED, REJECTED, Change, SearchResult
from effscope.searching import context as context_module
from effscope.searching import run as run_module
from effscope.searching.context import Context
from effscope.searching.execute import execute
from effscope.searching.jobs import job_book
from effscope.searching.journal import Journal
from effscope.workspace import Identity, open_workspace

Tell = Callable[[float, str], None]
FRESH = {"learned_ap": 0.0, "base_epochs": 2, "epochs": 1, "head": "light"}
"""A base that is trained from scratch for too short a time to learn: for tests of resuming and refusing."""
TOLD: list[float] = []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_place(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    return train_tiny(place)


@pytest.fixture(scope="module")
def whole(place: Path, trained: Path) -> SearchResult:
    """A search from trained weights of the same classes."""
    return search_tiny(
        place, "whole", weights=str(trained), head="keep", progress=lambda fraction, _: TOLD.append(fraction)
    )


@pytest.fixture(scope="module")
def fresh(place: Path) -> SearchResult:
    """A search whose base is trained from scratch."""
    return search_tiny(place, "fresh", **FRESH)


def comparable(result: SearchResult) -> dict[str, Any]:
    """The result without what is measured in seconds and where it lies."""
    data = result.to_dict()
    for key in ("seconds", "files", "origin", "base_latency", "front", "baselines"):
        del data[key]
    del data["ranks"]["origin"], data["saved"]["latency"], data["saved"]["latency_all"], data["given"]["latency"]
    for trial in data["trials"]:
        del trial["latency"]
    return data


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    state = open_model(str(folder)).state
    assert state is not None
    return dict(state)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def test_the_base_has_learned_and_the_candidates_differ_from_it(whole: SearchResult) -> None:
    """Without this the other tests would compare nothing with nothing."""
    assert whole.base_ap_start > 0.3
    assert all(0.05 < trial.ap_mean < 1 and trial.delta != 0 for trial in whole.trials)
    for trial in whole.trials:
        assert trial.delta == pytest.approx(trial.ap_mean - whole.base_ap)
        assert trial.verdict == (ACCEPTED if trial.delta >= -whole.margin - 1e-9 else REJECTED)


def test_search_writes_what_it_promises(whole: SearchResult, place: Path) -> None:
    folder = place / "whole"
    names = "search.json trials.csv summary.md ap_vs_cost.png rank.png rank.json model.safetensors journal.jsonl"
    for name in names.split():
        assert (folder / name).stat().st_size > 0
    assert all(Path(file).exists() for file in whole.files.values())
    assert SearchResult.load(folder / "search.json") == whole
    assert sorted(whole.order) == [1, 2, 3]
    assert [t.stage for t in whole.trials] == list(whole.order[: len(whole.trials)])
    assert whole.saved.keys() == {"params", "flops", "latency", "latency_all"}
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(whole.trials)
    left = [path for path in folder.rglob("*") if path.suffix in (".tmp", ".unfinished", ".training", ".partial")]
    assert not left
    assert not (folder / ".owner.json").exists()


def test_the_result_says_what_it_judged_by(whole: SearchResult, place: Path) -> None:
    assert (whole.rule, whole.margin, whole.imgsz) == ("margin", SETTINGS["margin"], 64)
    assert [row.stage for row in whole.ranks.stages] == list(whole.order)
    assert whole.ranks.spectra
    assert whole.origin.config is not None
    assert whole.origin.config.base_epochs == 20
    assert set(whole.origin.data) == {"train", "val"}
    assert len(set(whole.origin.data.values())) == 2
    assert whole.base_latency is not None and whole.runtime.startswith("torch ")
    assert all(trial.latency for trial in whole.trials)
    last = [trial for trial in whole.trials if trial.verdict == ACCEPTED][-1]
    assert last.latency is not None
    assert whole.given is not None
    assert whole.saved["latency"] == pytest.approx(1 - last.latency.ms / whole.given.latency.ms)


def test_the_model_it_hands_over_is_the_accepted_one(whole: SearchResult, place: Path) -> None:
    opened = open_model(str(place / "whole"))
    assert opened.classes == CLASSES
    assert opened.imgsz == 64
    accepted = sorted(change.stage for change in whole.accepted)
    assert accepted
    blocks = [layer.block for layer in opened.layout.layers if layer.block.startswith("C2f")]
    assert [k for k, block in enumerate(blocks, 1) if block == "C2fCIB"] == accepted
    counted = api.cost(str(place / "whole"), 64)
    assert whole.saved["params"] == pytest.approx(1 - counted.params_one_head / whole.base_params)
    assert whole.saved["flops"] == pytest.approx(1 - counted.flops / whole.base_flops)
    scored = api.eval(str(place / "whole"), str(place / "data" / "data.yaml"), device="cpu", batch=8)
    last = [t for t in whole.trials if t.verdict == ACCEPTED][-1]
    assert scored.ap == pytest.approx(last.ap_mean, abs=1e-9)


def test_the_base_that_was_trained_is_a_model_of_its_own(fresh: SearchResult, place: Path) -> None:
    file = place / "fresh" / "base.safetensors"
    assert fresh.files["base"] == str(file) and fresh.base_epochs == FRESH["base_epochs"]
    found = api.eval(str(file), str(place / "data" / "data.yaml"), device="cpu")
    assert found.ap == pytest.approx(fresh.base_ap_start, abs=1e-9) and found.origin.config is not None
    assert found.origin.config.imgsz == SETTINGS["imgsz"]


def test_a_finished_search_decodes_and_trains_nothing_again(
    whole: SearchResult, place: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        pytest.fail("worked again")

    monkeypatch.setattr(run_module, "execute", never)
    monkeypatch.setattr(run_module, "training_images_per_s", never)
    monkeypatch.setattr(context_module, "decode", never)
    weights, began = state_of(place / "whole"), time.monotonic()
    again = search_tiny(place, "whole", weights=str(trained), head="keep")
    assert time.monotonic() - began < 10
    assert comparable(again) == comparable(whole)
    assert (again.seconds, again.base_latency) == (whole.seconds, whole.base_latency)
    assert equal(weights, state_of(place / "whole"))


@pytest.mark.parametrize(
    ("out", "title", "moment"),
    [("in base", "base: training", "epoch 2/2"), ("in fit", ": fitting", "error"), ("in run", ": short", "epoch 1/1")],
)
def test_a_search_stopped_while_it_works_goes_on_to_the_same_end(
    fresh: SearchResult, place: Path, out: str, title: str, moment: str
) -> None:
    """Ctrl-C in the middle of a training, of a fit, and of a candidate's short training."""

    def stop(_: float, text: str) -> None:
        second = title.startswith("base") or str(fresh.order[1]) in text.partition(":")[0]
        if title in text and moment in text and second:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_tiny(place, out, progress=stop, **FRESH)
    finished = len(Journal(place / out / "journal.jsonl").read())
    texts: list[str] = []
    resumed = search_tiny(place, out, progress=lambda _, text: texts.append(text), **FRESH)
    assert any("base: training" in text for text in texts) == (finished == 0)
    assert comparable(resumed) == comparable(fresh)
    assert equal(state_of(place / out), state_of(place / "fresh"))


def test_a_stage_is_fitted_alike_whatever_was_fitted_before(place: Path, fresh: SearchResult, tmp_path: Path) -> None:
    """Fitted in the other order, and with cib-lk fits between, every stage is bit for bit what it was."""
    assert fresh.origin.config is not None
    context = Context(fresh.origin.config, 1, "cpu")
    book, work = job_book(context.config, context.inputs), place / "fresh" / "work"
    with open_workspace(tmp_path, Identity("search", {})) as workspace:
        for file in work.glob(f"{book.base().id}*"):
            copyfile(file, workspace.artefact(file.name, ""))
        for stage in reversed(fresh.order[: len(fresh.trials)]):
            for move in ("cib-lk", "cib"):
                execute(book.fit(Change(stage, move)), context, workspace, silent, unsaid)
        for trial in fresh.trials:
            name = book.fit(Change(trial.stage, "cib")).id + ".safetensors"
            first, second = (read_checkpoint(folder / name).state for folder in (work, tmp_path / "work"))
            assert equal(dict(first), dict(second))
    assert len(fresh.trials) >= 2


def test_progress_never_goes_back(whole: SearchResult) -> None:
    assert len(TOLD) > len(whole.trials)
    assert all(0 <= f <= 1 for f in TOLD)
    back = [(a, b) for a, b in pairwise(TOLD) if b < a - 1e-9]
    assert not back, back[:3]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "`seed` differs"),
        ({"margin": 0.02, "rule": "paper"}, "`margin` and `rule` differ"),
        ({"limit_val": 2}, "`limit_val` and the val images differ"),
        ({"recipe": "quick"}, "`recipe.lr`"),
    ],
)
def test_a_folder_refuses_another_search(
    whole: SearchResult, place: Path, trained: Path, change: dict[str, Any], named: str
) -> None:
    before = (place / "whole" / "search.json").read_bytes()
    with pytest.raises(EffscopeError) as caught:
        search_tiny(place, "whole", **{"weights": str(trained), "head": "keep", **change})
    assert named in str(caught.value)
    assert caught.value.exit_code == 2
    assert (place / "whole" / "search.json").read_bytes() == before


def test_a_folder_in_use_is_refused_in_one_line(place: Path) -> None:
    with (
        open_workspace(place / "busy", Identity("search", {})),
        pytest.raises(EffscopeError, match="is in use by process") as caught,
    ):
        search_tiny(place, "busy", **FRESH)
    assert "\n" not in str(caught.value)


def test_a_base_that_has_not_learned_judges_nothing_and_is_not_trained_again(place: Path) -> None:
    texts: list[str] = []
    for _ in range(2):
        texts.clear()
        with pytest.raises(NegativeAnswer, match="has not learned") as caught:
            search_tiny(place, "unlearned", **{**FRESH, "learned_ap": 0.2}, progress=lambda _, text: texts.append(text))
        assert caught.value.exit_code == 1
    assert {text.partition(" ")[0] for text in texts} <= {"", "listing"}
    assert [m.kind for m in Journal(place / "unlearned" / "journal.jsonl").read()] == ["base"]


@pytest.mark.parametrize(
    "settings",
    [{"rule": "luck"}, {"moves": "prune"}, {"target": "params=-0%"}, {"order": "luck"}, {"head": "no"},
     {"margin": -0.1}, {"epochs": 0}, {"limit_train": 0},
     {"speed": 1}, {"threshold": 1.5}, {"data": "nowhere"}, {"device": "tpu"}, {"weights": "nowhere.pt"},
     {"imgsz": 65}, {"seed": 0.5}, {"epochs": True}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_before_anything_is_written(
    place: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    data = str(place / "data" / "data.yaml")
    with pytest.raises(EffscopeError):
        api.search(str(place / "tiny.yaml"), out=tmp_path / "bad", **{"data": data, **SETTINGS, **settings})
    assert not (tmp_path / "bad").exists()


def test_a_base_without_a_stage_to_change_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "compact.yaml").write_text(LAYOUT.replace("C2f, [64", "C2fCIB, [64").replace("C2f,", "C2fCIB,"))
    with pytest.raises(EffscopeError, match="has no stage that move cib can change: its stages are C2fCIB"):
        api.search(str(tmp_path / "compact.yaml"), out=tmp_path / "o", data=str(place / "data" / "data.yaml"))
    assert not (tmp_path / "o").exists()


def test_search_json_is_strict_json(whole: SearchResult, place: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json.loads((place / "whole" / "search.json").read_text(), parse_constant=refuse)
    keys = {"stage", "move", "params", "flops", "ap_start", "ap_mean", "ap_runs", "delta", "ci", "verdict", "changes"}
    assert all(keys <= set(row) for row in data["trials"])
    assert {"base", "base_ap", "order", "rule", "margin", "trials", "accepted", "stop_reason", "saved"} <= set(data)
    assert data["accepted"] == [{"stage": c.stage, "move": c.move} for c in whole.accepted]


def test_given_weights_of_the_same_classes_are_not_trained_again(
    whole: SearchResult, place: Path, trained: Path
) -> None:
    (base,) = (place / "whole" / "work").glob("base-*.safetensors")
    assert equal(dict(read_checkpoint(base).state), state_of(trained))
    scored = api.eval(str(trained), str(place / "data" / "data.yaml"), device="cpu", batch=8)
    assert whole.base_ap_start == pytest.approx(scored.ap, abs=1e-9)
    assert any("tensors transferred" in note for note in whole.notes)
    assert whole.given is not None
    assert whole.given.ap == pytest.approx(scored.ap, abs=1e-9)
    assert any("no model.yaml" in note for note in whole.notes)


def test_the_light_head_is_fitted_and_the_rest_is_exactly_the_given_model(place: Path, trained: Path) -> None:
    result = search_tiny(place, "fitted", weights=str(trained), learned_ap=0.0, rule="paper")
    assert any("a light class head is fitted to its own head" in note for note in result.notes)
    assert any(note.startswith("light head: in closed form, error ") for note in result.notes)
    assert result.given is not None
    assert result.given.fitted_ap is not None
    assert result.given.ap is not None
    assert result.given.params > result.base_params
    assert result.given_ci is not None  # of what the light head and the changes cost together
    assert result.given_ci[0] <= chosen_ap(result) - result.given.ap <= result.given_ci[1]
    (file,) = (place / "fitted" / "work").glob("base-*.safetensors")
    given, base = state_of(trained), dict(read_checkpoint(file).state)
    changed = {key for key, value in base.items() if key in given and not torch.equal(value, given[key])}
    assert not {key for key in changed if not key.startswith("model.8.cv3.")}
    assert (place / "fitted" / "model.yaml").exists() or not result.accepted


def test_weights_of_other_classes_start_the_class_tower_fresh(place: Path, trained: Path) -> None:
    other = place / "other"
    other.mkdir(exist_ok=True)
    text = (place / "data" / "data.yaml").read_text()
    (other / "data.yaml").write_text(
        f"path: {(place / 'data').resolve()}\n" + text.replace("red", "crimson").replace("blue", "navy")
    )
    result = search_tiny(
        place, "other classes", weights=str(trained), data=str(other / "data.yaml"), learned_ap=0.0, base_epochs=2
    )
    assert any("2 other classes: new class towers, trained 1 epoch" in n for n in result.notes)


@pytest.mark.slow
def test_a_destructive_rate_leaves_the_closed_form(place: Path) -> None:
    """A rate at which every weight becomes infinite: the fits end where they began."""
    ends = {}
    for steps, lr in ((0, 1e-3), (40, 1e30)):
        rates = {"distil": DistilConfig(images=8, steps=steps, batch=4, lr=lr), "base_epochs": 1}
        result = search_tiny(place, f"rate {lr:g}", **{**FRESH, **rates}, limit_train=8, limit_val=4)
        ends[lr] = [trial.ap_start for trial in result.trials]
    assert ends[1e-3] == ends[1e30]
