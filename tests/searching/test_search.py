"""Whole searches on a detector of three stages: files, resuming, refusing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_detector import CLASSES, coloured_squares

from effscope import api
from effscope.checkpoint.read import read_checkpoint
from effscope.config import DistilConfig
from effscope.data.write import write_yolo
from effscope.errors import EffscopeError, NegativeAnswer
from effscope.models.open import open_model
from effscope.results import ACCEPTED, SearchResult
from effscope.searching import evaluate as evaluate_module
from effscope.searching.journal import Journal

TINY = """
nc: 2
scales:
  n: [1.0, 0.25, 128]
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, C2f, [64, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C2f, [128, True]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C2f, [128, True]]
  - [-1, 1, Conv, [128, 3, 2]]
head:
  - [[4, 6, 7], 1, Detect, [nc]]
"""
SMALL = {
    "imgsz": 64, "base_epochs": 2, "epochs": 1, "batch": 4, "device": "cpu", "learned_ap": 0.0,
    "distil": DistilConfig(images=8, steps=4, batch=4),
}  # fmt: skip
Tell = Callable[[float, str], None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.yaml").write_text(TINY)
    write_yolo([coloured_squares(8), coloured_squares(6, "val", seed=3)], folder / "data")
    return folder


def run(place: Path, out: str, progress: Tell = lambda _, text: None, **settings: Any) -> SearchResult:
    """A search of the tiny layout, in `place / out`."""
    data, options = str(place / "data" / "data.yaml"), {**SMALL, **settings}
    return api.search(str(place / "tiny.yaml"), out=place / out, data=data, progress=progress, **options)


TOLD: list[float] = []


@pytest.fixture(scope="module")
def whole(place: Path) -> SearchResult:
    return run(place, "whole", lambda fraction, _: TOLD.append(fraction))


def comparable(result: SearchResult) -> dict[str, Any]:
    """The result without what is measured in seconds and where it lies."""
    data = result.to_dict()
    for key in ("seconds", "files", "origin"):
        del data[key]
    return {**data, "saved": {k: v for k, v in data["saved"].items() if k != "latency"}}


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    state = open_model(str(folder)).state
    assert state is not None
    return dict(state)


def test_search_writes_what_it_promises(whole: SearchResult, place: Path) -> None:
    folder = place / "whole"
    for name in (
        "search.json",
        "trials.csv",
        "summary.md",
        "ap_vs_cost.png",
        "rank.png",
        "rank.json",
        "model.safetensors",
    ):
        assert (folder / name).stat().st_size > 0
    assert all(Path(file).exists() for file in whole.files.values())
    assert SearchResult.load(folder / "search.json") == whole
    assert sorted(whole.order) == [1, 2, 3]
    assert [t.stage for t in whole.trials] == list(whole.order[: len(whole.trials)])
    assert whole.saved.keys() == {"params", "flops", "latency"}
    assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(whole.trials)
    assert not list(folder.rglob("*.tmp")) + list(folder.rglob("*.training"))


def test_the_model_it_hands_over_is_the_accepted_one(whole: SearchResult, place: Path) -> None:
    opened = open_model(str(place / "whole"))
    assert opened.classes == CLASSES
    assert opened.imgsz == SMALL["imgsz"]
    blocks = [layer.block for layer in opened.layout.layers if layer.block.startswith("C2f")]
    assert [k for k, block in enumerate(blocks, 1) if block == "C2fCIB"] == sorted(
        change.stage for change in whole.accepted
    )
    counted = api.cost(str(place / "whole"), 64)
    assert whole.saved["params"] == pytest.approx(1 - counted.params_one_head / whole.base_params)
    assert whole.saved["flops"] == pytest.approx(1 - counted.flops / whole.base_flops)
    network = opened.network()
    assert all(torch.equal(value, state_of(place / "whole")[key]) for key, value in network.state_dict().items())
    scored = api.eval(str(place / "whole"), str(place / "data" / "data.yaml"), device="cpu", batch=4)
    last = [t for t in whole.trials if t.verdict == ACCEPTED][-1:]
    assert scored.ap == pytest.approx(last[0].ap_mean if last else whole.base_ap, abs=1e-9)


def test_a_finished_search_trains_nothing_again(
    whole: SearchResult, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        pytest.fail("trained again")

    for name in ("train", "distil", "evaluate"):
        monkeypatch.setattr(evaluate_module, name, never)
    weights, began = state_of(place / "whole"), time.monotonic()
    again = run(place, "whole")
    assert time.monotonic() - began < 10
    assert comparable(again) == comparable(whole)
    assert again.seconds == whole.seconds
    assert all(torch.equal(value, weights[key]) for key, value in state_of(place / "whole").items())


@pytest.mark.parametrize("at", ["base: training: epoch 2/2", "fitting: ", "short training: epoch"])
def test_an_interrupted_search_goes_on_to_the_same_end(whole: SearchResult, place: Path, at: str) -> None:
    seen: list[str] = []

    def stop(_: float, text: str) -> None:
        seen.append(text)
        if at in text and (text.startswith("base") or f"stage {whole.order[1]}" in text) and "base: short" not in text:
            raise KeyboardInterrupt

    out = f"stopped {at[:6]}".replace(":", "")
    with pytest.raises(KeyboardInterrupt):
        run(place, out, stop)
    finished = len(Journal(place / out / "journal.jsonl").read())
    assert finished == (1 if at.startswith("base") else 3)
    texts: list[str] = []
    resumed = run(place, out, lambda _, text: texts.append(text))
    if finished > 1:
        assert not any("epoch" in text and text.startswith("base: training") for text in texts)
    assert comparable(resumed) == comparable(whole)
    expected = state_of(place / "whole")
    assert all(torch.equal(value, expected[key]) for key, value in state_of(place / out).items())


def test_progress_never_goes_back(whole: SearchResult) -> None:
    assert len(TOLD) > len(whole.trials)
    assert all(0 <= f <= 1 for f in TOLD)
    back = [(a, b) for a, b in pairwise(TOLD) if b < a - 1e-9]
    assert not back, back[:3]


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 1}, "seed"), ({"margin": 0.02, "rule": "paper"}, "margin"), ({"limit_val": 2}, "limit_val")],
)
def test_a_folder_refuses_another_search(whole: SearchResult, place: Path, change: dict[str, Any], named: str) -> None:
    before = (place / "whole" / "search.json").read_bytes()
    with pytest.raises(EffscopeError, match=named) as caught:
        run(place, "whole", **change)
    assert caught.value.exit_code == 2
    assert (place / "whole" / "search.json").read_bytes() == before


def test_a_base_that_has_not_learned_judges_nothing(place: Path) -> None:
    with pytest.raises(NegativeAnswer, match="has not learned") as caught:
        run(place, "unlearned", learned_ap=0.2, base_epochs=1)
    assert caught.value.exit_code == 1
    assert [e["event"] for e in Journal(place / "unlearned" / "journal.jsonl").read()] == ["start"]


@pytest.mark.parametrize(
    "settings",
    [{"rule": "luck"}, {"move": "prune"}, {"head": "no"}, {"margin": -0.1}, {"epochs": 0}, {"limit_train": 0},
     {"speed": 1}, {"threshold": 1.5}, {"data": "nowhere"}, {"device": "tpu"}, {"weights": "nowhere.pt"}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_before_anything_is_written(
    place: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    data = str(place / "data" / "data.yaml")
    with pytest.raises(EffscopeError):
        api.search(str(place / "tiny.yaml"), out=tmp_path / "bad", **{"data": data, **SMALL, **settings})
    assert not (tmp_path / "bad").exists()


def test_search_json_is_strict_json(whole: SearchResult, place: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    data = json.loads((place / "whole" / "search.json").read_text(), parse_constant=refuse)
    keys = {"stage", "move", "params", "flops", "ap_start", "ap_mean", "ap_runs", "delta", "ci", "verdict"}
    assert all(keys <= set(row) for row in data["trials"])
    assert {"base", "base_ap", "order", "trials", "accepted", "stop_reason", "saved", "files"} <= set(data)


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    data = str(place / "data" / "data.yaml")
    api.train(str(place / "tiny.yaml"), out=place / "trained", data=data, epochs=1, imgsz=64, batch=4, device="cpu")
    return place / "trained"


def test_given_weights_of_the_same_classes_are_not_trained_again(place: Path, trained: Path) -> None:
    texts: list[str] = []
    result = run(place, "given", lambda _, text: texts.append(text), weights=str(trained), head="keep", rule="paper")
    assert not any(text.startswith("base: training") for text in texts)
    given, base = state_of(trained), dict(read_checkpoint(place / "given" / "work" / "base.safetensors").state)
    assert all(torch.equal(value, given[key]) for key, value in base.items())
    assert any("tensors transferred" in note for note in result.notes)
    assert any("no model.yaml" in note for note in result.notes) == bool(result.accepted)


def test_the_light_head_is_fitted_and_the_rest_is_exactly_the_given_model(place: Path, trained: Path) -> None:
    """DESIGN section 7: every untouched tensor is inherited exactly; the box towers are not touched."""
    result = run(place, "fitted", weights=str(trained))
    assert any("light class head, fitted" in note for note in result.notes)
    given, base = state_of(trained), dict(read_checkpoint(place / "fitted" / "work" / "base.safetensors").state)
    changed = {key for key, value in base.items() if key in given and not torch.equal(value, given[key])}
    assert not {key for key in changed if not key.startswith("model.8.cv3.")}
