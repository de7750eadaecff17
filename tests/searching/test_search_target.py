"""Searches for a target, without labels, and what their end says: the finished model, its rivals, the true AP."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

import pytest
from support.tiny_search import LAYOUT, SETTINGS, search_tiny, tiny_place, train_tiny

from effscope import api
from effscope.checkpoint.write import write_safetensors
from effscope.config import SearchConfig
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import build
from effscope.reporting.pages.go_on import go_on
from effscope.results import Baseline, SearchResult
from effscope.searching.journal import Journal

SQUARE = 64
"""Side of the images: they are squares, so padding makes no difference between torch and onnxruntime."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_place(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    return train_tiny(place)


@pytest.fixture(scope="module")
def unlabelled(place: Path, trained: Path) -> SearchResult:
    """A search without labels on data that has some, with everything that its end can tell."""
    settings = {
        **SETTINGS, "data": str(place / "data" / "data.yaml"), "labels": "none", "epochs": 1, "margin": 0.9,
        "runtime": "onnx", "against": str(trained), "finish_epochs": 2,
    }  # fmt: skip
    return api.search(str(trained), out=place / "unlabelled", **settings, moves="slim-50,scdown", target="params=-5%")


def by_name(result: SearchResult) -> dict[str, Baseline]:
    return {one.name: one for one in result.baselines}


def test_a_search_for_a_target(place: Path, trained: Path) -> None:
    """The library, one candidate that reaches the target, judged; the user's head stays without compact stages."""
    result = search_tiny(place, "target", weights=str(trained), moves="slim,shallow,scdown", target="params=-7%")
    assert result.target == {"params": 0.07}
    assert {row.move for row in result.library} == {"slim-50", "shallow", "scdown"}
    assert result.base_params == result.given.params if result.given else False
    trial = result.trials[0]
    assert trial.stage is None and trial.changes
    counted = result.base_params - trial.params
    assert counted >= 0.07 * result.base_params
    names = {(row.stage, row.move): row for row in result.library}
    assert counted == sum(names[change.stage, change.move].params for change in trial.changes)
    assert all(row.ms_before and row.ms_after and row.error is not None for row in result.library)
    assert SearchResult.load(place / "target" / "search.json") == result
    assert len((place / "target" / "library.csv").read_text().splitlines()) == 1 + len(result.library)
    if result.accepted:
        opened = open_model(str(place / "target"))
        assert api.cost(str(place / "target"), 64).params_one_head == trial.params == result.base_params - counted
        assert opened.layout.layers[-1].args == ("nc",)
        assert (place / "target" / "model.yaml").exists()


def test_a_library_alone_is_an_answer(place: Path, trained: Path) -> None:
    """It shares its jobs with the search above, trains nothing and writes no model."""
    result = search_tiny(place, "library", weights=str(trained), moves="slim,cib", library_only=True)
    assert [row.move for row in result.library].count("light-head") == 1
    assert not result.trials and not result.base_runs and not result.front
    assert not (place / "library" / "model.safetensors").exists()
    kinds = {measurement.kind for measurement in Journal(place / "library" / "journal.jsonl").read()}
    assert kinds == {"base", "fit", "start", "rank", "pieces"}
    assert SearchResult.load(place / "library" / "search.json") == result


@pytest.mark.slow
def test_the_true_ap_stands_beside_agreement(place: Path, trained: Path, unlabelled: SearchResult) -> None:
    """What `eval` gives on the labels that the search left aside."""
    data, rows = str(place / "data" / "data.yaml"), by_name(unlabelled)
    assert unlabelled.accepted
    given, chosen = api.eval(str(trained), data, device="cpu"), api.eval(str(place / "unlabelled"), data, device="cpu")
    assert rows["your model"].true_ap == pytest.approx(given.ap, abs=2e-3)
    assert rows["the chosen model"].true_ap == pytest.approx(chosen.ap, abs=2e-3)
    assert rows["your model"].ap > 0.9
    text = (place / "unlabelled" / "summary.md").read_text()
    assert "no labels were used: AP is agreement with your model" in text
    kept = f"your model {100 * (rows['your model'].true_ap or 0):.1f}"
    assert "by the labels that the validation images have after all: AP" in text and kept in text


@pytest.mark.slow
def test_the_finished_model_is_what_is_written(place: Path, trained: Path, unlabelled: SearchResult) -> None:
    end, rows = unlabelled.finish, by_name(unlabelled)
    assert end is not None and unlabelled.given is not None
    assert (end.epochs, end.against) == (2, unlabelled.given.ap)
    assert end.delta == pytest.approx(end.ap - end.against)
    assert end.ci[0] <= end.delta <= end.ci[1]
    written = end.ap if end.kept else unlabelled.trials[-1].ap_runs[0]
    assert rows["the chosen model"].ap == pytest.approx(written, abs=2e-3)
    folder, first = place / "unlabelled", unlabelled.trials[-1].ap_runs[0]
    assert end.kept == (end.ap >= first)
    (finished,) = (folder / "work").glob("finish-*.safetensors")
    assert ((folder / "model.safetensors").read_bytes() == finished.read_bytes()) == end.kept
    said = "the written weights" if end.kept else "less than before: the weights of the first run are written"
    assert f"after 2 more epochs: AP {100 * end.ap:.1f} ({said})" in (folder / "summary.md").read_text()


@pytest.mark.slow
def test_another_model_is_measured_beside(trained: Path, unlabelled: SearchResult) -> None:
    rows = by_name(unlabelled)
    rival = rows[trained.name]
    assert rival.rival and not any(one.rival for one in rows.values() if one is not rival)
    assert rival.ap == pytest.approx(rows["your model"].ap)
    assert {"the base in int8", "the chosen model in int8", "the base at 32 px"} <= set(rows)
    for name in ("your model", "the base", "the chosen model"):
        assert rows[name].latency is not None and rows[name].torch is not None
    assert rows["the base in int8"].torch is None


@pytest.mark.slow
def test_the_front_has_what_was_not_judged(unlabelled: SearchResult) -> None:
    """Savings and damages of predicted choices are the sums of the library's."""
    library = {(row.stage, row.move): row for row in unlabelled.library}
    unmade = [point for point in unlabelled.front if point.verdict == "predicted"]
    assert unmade
    for point in unmade:
        rows = [library[change.stage, change.move] for change in point.changes]
        assert point.params == unlabelled.base_params - sum(row.params for row in rows)
        expected = unlabelled.base_ap_start - sum(max(row.damage, 0) for row in rows)
        assert point.ap_at_once == pytest.approx(expected)
    assert not {point.changes for point in unmade} & {trial.changes for trial in unlabelled.trials}


@pytest.mark.slow
def test_the_page_says_how_to_go_on(place: Path, unlabelled: SearchResult) -> None:
    folder = place / "unlabelled"
    said = (
        f"`python -c \"import effscope; effscope.export('{folder}', 'pt', '{folder}/export')\"`",
        f"`yolo detect train model={folder}/export/unlabelled.pt data=DATA.yaml imgsz=64 epochs=100`: the data must "
        "list the classes in the order of the model",
    )
    text = (folder / "summary.md").read_text()
    assert go_on(unlabelled) == said and all(line in text for line in said)
    words = shlex.split(said[0].strip("`"))
    subprocess.run([sys.executable, *words[1:]], check=True, capture_output=True)
    assert (folder / "export" / "unlabelled.pt").is_file()


@pytest.mark.slow
def test_distillation_is_named_where_it_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlabelled: SearchResult
) -> None:
    """An installed Ultralytics is looked at, not imported."""
    package = tmp_path / "ultralytics"
    (package / "cfg").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = replace(unlabelled.origin, config=SearchConfig(base="best.pt", data="coco"))
    result = replace(unlabelled, origin=made, files={"yaml": "my run/model.yaml"})
    for text, said in (("epochs: 100\n", False), ("distill_model: # teacher\n", True)):
        (package / "cfg" / "default.yaml").write_text(text)
        command = go_on(result)[1]
        assert (" distill_model=best.pt`" in command) == said
        assert " data=DATA.yaml " in command and "'model=my run/export/my run.pt'" in command
    assert "distill" not in go_on(replace(result, given=None))[1]
    assert go_on(replace(result, files={})) == ()


def test_a_plain_folder_has_no_true_ap(place: Path, trained: Path) -> None:
    photos = place / "photos"
    photos.mkdir()
    for n, file in enumerate(sorted((place / "data").rglob("*.jpg")) or sorted((place / "data").rglob("*.png"))):
        copyfile(file, photos / f"{n:03}{file.suffix}")
    settings = {**SETTINGS, "data": str(photos), "labels": "none", "epochs": 1}
    result = api.search(str(trained), out=place / "photographed", **settings, moves="slim-50")
    assert result.given is not None and (result.given.ap or 0) > 0.9
    assert not any(one.true_ap for one in result.baselines)
    with pytest.raises(EffscopeError, match="`labels` none needs a trained model"):
        api.search(str(place / "tiny.yaml"), out=place / "x", **settings)


def test_damaged_pictures_and_missing_labels_do_not_shift_the_true_ap(place: Path, trained: Path) -> None:
    """Images that cannot be decoded are in neither AP, and the page says which labels were missing."""
    folder = tiny_place(place / "damaged") if (place / "damaged").mkdir() is None else place
    pictures = sorted((folder / "data" / "images" / "val").iterdir())
    pictures[2].write_bytes(pictures[2].read_bytes()[:60])
    labels = sorted((folder / "data" / "labels" / "val").iterdir())
    labels[5].unlink()
    settings = {**SETTINGS, "data": str(folder / "data" / "data.yaml"), "labels": "none", "epochs": 1, "margin": 0.9}
    result = api.search(str(trained), out=place / "damage", **settings, moves="slim-50", target="params=-3%")
    expected = api.eval(str(trained), str(folder / "data" / "data.yaml"), device="cpu")
    assert expected.images == len(pictures) - 1
    assert by_name(result)["your model"].true_ap == pytest.approx(expected.ap, abs=2e-3)
    assert any("true AP: 1 image without a label file" in note for note in result.notes)


def test_without_labels_more_agreement_may_be_lost(place: Path, trained: Path) -> None:
    from effscope.config.search import search_config

    assert search_config({"labels": "none"}).margin == 0.05
    assert search_config({"labels": "none", "margin": 0.02}).margin == 0.02
    assert search_config({}).margin == 0.01


def test_a_rival_of_other_classes_is_refused_before_anything_runs(place: Path, trained: Path) -> None:
    with pytest.raises(EffscopeError, match="`against` yolov8n has no weights"):
        search_tiny(place, "rival", weights=str(trained), against="yolov8n")
    detr = layout("rtdetr-resnet50", 2)
    write_safetensors(
        place / "detr.safetensors", build(expand(detr)).state_dict(), metadata(detr, ("red", "blue"), SQUARE)
    )
    with pytest.raises(EffscopeError, match="`against` detr has a head that effscope cannot run"):
        search_tiny(place, "rival", weights=str(trained), against=str(place / "detr.safetensors"))
    folder = tiny_place(place / "other") if (place / "other").mkdir() is None else place
    data = folder / "data" / "data.yaml"
    data.write_text(data.read_text().replace("red", "crimson"))
    train_tiny(folder, epochs=1)
    with pytest.raises(EffscopeError, match="knows other classes than the data"):
        search_tiny(place, "rival", weights=str(trained), against=str(folder / "trained"))
    assert not (place / "rival").exists()


@pytest.mark.slow
def test_a_one_to_one_head_through_onnxruntime(place: Path) -> None:
    """Its graph selects the detections itself, as deployed: at most 300."""
    (place / "v10.yaml").write_text(LAYOUT.replace("Detect,", "v10Detect,"))
    fresh = {"learned_ap": 0.0, "epochs": 1, "head": "light"}
    settings = {**SETTINGS, **fresh, "base_epochs": 12, "runtime": "onnx", "margin": 0.5}
    result = api.search(str(place / "v10.yaml"), out=place / "v10", data=str(place / "data" / "data.yaml"), **settings)
    rows = by_name(result)
    assert result.base_ap > 0.02
    assert rows["the base"].ap == pytest.approx(result.base_ap, abs=2e-3)
    assert rows["the base in int8"].ap == pytest.approx(result.base_ap, abs=0.05)
