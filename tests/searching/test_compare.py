"""Two detectors on the same images: from weights files to the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_search import tiny_place, train_tiny

from effscope import api
from effscope.checkpoint.write import write_safetensors
from effscope.errors import EffscopeError
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.reporting.pages.compare import compare_table
from effscope.results import ACCEPTED, REJECTED
from effscope.searching.sides import named, told_apart


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_place(tmp_path_factory.mktemp("compare"))
    train_tiny(folder)
    return folder


def disturbed(place: Path, name: str, noise: float, seed: int, classes: tuple[str, ...] | None = None) -> Path:
    """The trained weights with relative noise."""
    opened = open_model(str(place / "trained"))
    assert opened.state is not None and opened.classes is not None
    random = torch.Generator().manual_seed(seed)
    state = {
        key: value * (1 + noise * torch.randn(value.shape, generator=random)) if value.is_floating_point() else value
        for key, value in opened.state.items()
    }
    file = place / f"{name}.safetensors"
    write_safetensors(file, state, metadata(opened.layout, classes or opened.classes, 64))
    return file


def test_a_detector_equals_itself(place: Path, tmp_path: Path) -> None:
    model, data = str(place / "trained"), str(place / "data" / "data.yaml")
    found = api.compare(model, model, data, device="cpu", batch=8, out=tmp_path)
    assert (found.delta, found.ci, found.verdict) == (0.0, (0.0, 0.0), ACCEPTED)
    assert found.run_sd is None and found.image_sd == 0
    scored = api.eval(model, data, device="cpu", batch=8)
    assert found.ap_a == found.ap_b == pytest.approx(scored.ap)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["compare.json", "compare.md"]


def test_a_damaged_detector_is_rejected_and_its_image_noise_is_the_jackknifes(place: Path) -> None:
    data = str(place / "data" / "data.yaml")
    bad = disturbed(place, "bad", 0.3, 0)
    found = api.compare(str(place / "trained"), str(bad), data, device="cpu", batch=8)
    assert found.verdict == REJECTED
    assert found.delta < -0.1 and found.ci[0] < found.delta < found.ci[1] < 0
    assert found.image_sd > 0
    assert "1 run against 1" in found.note


def test_another_size_in_training_is_said_with_the_size_that_both_are_judged_at(place: Path) -> None:
    opened, data, said = open_model(str(place / "trained")), str(place / "data" / "data.yaml"), list[str]()
    assert opened.state is not None and opened.classes is not None
    file = place / "larger.safetensors"
    write_safetensors(file, opened.state, metadata(opened.layout, opened.classes, 96))
    trained = str(place / "trained")
    found = api.compare(trained, str(file), data, device="cpu", batch=8, say=said.append)
    line = "B larger was trained at 96 px, but both sides are judged at 64 px: `imgsz` sets another size"
    assert said == list(found.notes) == [line]
    table = compare_table(found)
    assert table.title == "AP at 64 px" and line in table.notes
    assert "at 64 px" in found.lines()[1]
    given = api.compare(trained, str(file), data, imgsz=96, device="cpu", batch=8)
    assert given.notes == () and compare_table(given).title == "AP at 96 px"
    assert api.compare(str(file), str(file), data, device="cpu", batch=8).origin.config == given.origin.config


def test_several_files_a_side_are_runs(place: Path) -> None:
    data = str(place / "data" / "data.yaml")
    for seed in range(3):
        disturbed(place, f"run-{seed}", 0.01, seed)
    pattern = str(place / "run-*.safetensors")
    both = f"{place / 'trained'},{place / 'run-0.safetensors'}"
    found = api.compare(both, pattern, data, device="cpu", batch=8, margin=0.2)
    assert [(run.side, run.model) for run in found.runs] == [
        ("A", "trained"), ("A", "run-0"), ("B", "run-0"), ("B", "run-1"), ("B", "run-2")
    ]  # fmt: skip
    assert found.run_sd is not None and found.run_sd > 0
    assert found.delta == pytest.approx(found.ap_b - found.ap_a)
    assert found.ap_b == pytest.approx(sum(run.ap for run in found.runs[2:]) / 3)
    assert (found.a, found.b) == ("trained and 1 more", "run-0 and 2 more")


def test_sides_are_lists_commas_or_patterns(tmp_path: Path) -> None:
    for name in ("a1.pt", "a2.pt", "b,c.pt"):
        (tmp_path / name).touch()
    one, two, comma = (str(tmp_path / name) for name in ("a1.pt", "a2.pt", "b,c.pt"))
    assert named(str(tmp_path / "a*.pt")) == (one, two)
    assert named(f"{one}, {two}") == named([one, two]) == (one, two)
    assert named(comma) == (comma,)
    with pytest.raises(EffscopeError, match="no file matches"):
        named(str(tmp_path / "x*.pt"))
    for nothing in ("", " , ", []):
        with pytest.raises(EffscopeError, match="one side has no model"):
            named(nothing)


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    assert told_apart(["runs/a/model.safetensors", "runs/b/model.safetensors"]) == ("a/model", "b/model")
    assert told_apart(["x/a.pt", "x/b.pt"]) == ("a", "b")
    assert told_apart(["a-1/weights/last.pt", "a-2/weights/last.pt"]) == ("a-1/weights/last", "a-2/weights/last")
    assert told_apart(["a.pt", "a.pt"]) == ("a", "a")
    assert told_apart(["runs/a", "runs/b", "yolov8n"]) == ("a", "b", "yolov8n")
    assert told_apart(["model.pt", "model.onnx"]) == ("model.pt", "model.onnx")


def test_folders_keep_their_dots_and_the_folder_here_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lr0.1", "lr0.2"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert told_apart(["lr0.1", "lr0.2"]) == ("lr0.1", "lr0.2")
    assert told_apart([".", "."]) == (tmp_path.name, tmp_path.name)
    assert told_apart(["lr0.1/..", "lr0.1"]) == (tmp_path.name, "lr0.1")


def test_detectors_of_other_classes_cannot_be_compared(place: Path) -> None:
    data = str(place / "data" / "data.yaml")
    other = disturbed(place, "other", 0.0, 0, ("blue", "red"))
    with pytest.raises(EffscopeError, match="know different classes, or name them in another order"):
        api.compare(str(place / "trained"), str(other), data, device="cpu")


def test_what_cannot_be_scored_is_refused(place: Path) -> None:
    data = str(place / "data" / "data.yaml")
    with pytest.raises(EffscopeError, match="has no weights"):
        api.compare(str(place / "tiny.yaml"), str(place / "trained"), data)
    with pytest.raises(EffscopeError, match="`margin` must be a fraction"):
        api.compare(str(place / "trained"), str(place / "trained"), data, margin=2.0)


def test_the_interval_holds_training_noise_once_it_is_known(place: Path) -> None:
    """The same difference with more spread between runs has a wider interval."""
    data = str(place / "data" / "data.yaml")
    model = str(place / "trained")
    for seed in range(2):
        disturbed(place, f"near-{seed}", 0.02, seed)
    single = api.compare(model, str(place / "near-0.safetensors"), data, device="cpu", batch=8)
    double = api.compare([model, model], str(place / "near-*.safetensors"), data, device="cpu", batch=8)
    assert double.run_sd is not None
    assert replace(single, note="") != double
    width = double.ci[1] - double.ci[0]
    assert width > 2 * double.run_sd
