"""What a model's name stands for: zoo names in any letters, names of files that do not exist, wrong names."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effscope import api
from effscope.errors import EffscopeError
from effscope.layouts.zoo.catalog import ALIASES, ZOO, layout
from effscope.models.naming import WEIGHTS_SUFFIXES, YAML_SUFFIXES, find_model, look_up
from effscope.models.open import open_model

NAMES = sorted({*ZOO, *ALIASES})


@given(st.sampled_from(NAMES), st.data())
def test_a_built_in_name_in_any_letters_is_the_built_in_layout(name: str, data: st.DataObject) -> None:
    spelled = "".join(c.upper() if data.draw(st.booleans()) else c for c in name)
    found = find_model(spelled, weights_matter=True)
    assert (found.kind, found.name, found.assumed) == ("built in", name, "")
    assert open_model(spelled).layout == layout(name)


@pytest.mark.parametrize("suffix", sorted(YAML_SUFFIXES | WEIGHTS_SUFFIXES))
@pytest.mark.parametrize("stem", ["yolov8n", "YOLO11s"])
def test_the_file_name_of_a_built_in_model_without_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name = stem + suffix
    found = find_model(name)
    assert (found.kind, found.name) == ("built in", stem.lower())
    assert f"no file '{name}'" in found.assumed and stem.lower() in found.assumed
    assert ("without its weights" in found.assumed) == (suffix in WEIGHTS_SUFFIXES)
    if suffix in WEIGHTS_SUFFIXES:
        with pytest.raises(EffscopeError, match=f"there is no file '{name}', and effscope downloads no weights"):
            look_up(name)
    else:
        look_up(name)
    opened = open_model(name)
    assert opened.state is None and opened.layout == layout(stem.lower())
    assert found.assumed in opened.source and found.assumed in opened.outline.notes


def test_a_cost_of_an_assumed_model_says_so_and_that_of_a_file_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"there is no file 'yolov8n.pt'") as warned:
        assumed = api.cost("yolov8n.pt", 64)
    assert [(line.filename, str(line.message)) for line in warned] == [(__file__, assumed.notes[-1])]
    with pytest.warns(UserWarning, match="there is no file") as warned:
        api.diff("yolov10n", "yolov8n.yaml", 64)
    assert [line.filename for line in warned] == [__file__]
    with pytest.warns(UserWarning, match="there is no file") as warned:
        api.latency(["yolov8n.pt", "yolov8n.pt"], 64, rounds=1, objects=(10,), predict="NVIDIA RTX 3090")
    assert [line.filename for line in warned] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = api.cost("yolov8n", 64)
    assert assumed.params == named.params
    assert [note for note in assumed.notes if note not in named.notes] == [find_model("yolov8n.pt").assumed]


def test_a_file_that_exists_wins_over_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, kind in (("yolov8n.pt", "weights"), ("yolov8n.yaml", "yaml"), ("YOLOv8n", "weights")):
        Path(name).write_bytes(b"x")
        assert find_model(name, weights_matter=True).kind == kind


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("runs/yolov8n.pt", "there is no file or folder 'runs/yolov8n.pt': check the path; did you mean the built-in"),
        ("best.pt", "there is no file or folder 'best.pt': check the path"),
        ("data.yaml", "there is no file or folder 'data.yaml': check the path"),
        ("yolov11n", "neither a file nor a built-in model; did you mean the built-in yolo11n"),
        ("zzz", "give a built-in name"),
        ("", "neither a file nor|folder without"),
    ],
)
def test_wrong_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EffscopeError, match=says) as error:
        find_model(name)
    assert "\n" not in str(error.value)


def test_what_needs_weights_refuses_what_has_none(tmp_path: Path) -> None:
    look_up(None, object())
    for name in ("yolov8n", "yolov8n.yaml", "torchvision:resnet18"):
        with pytest.raises(EffscopeError, match=f"{name} has no weights"):
            look_up(name, trained=True)
    (tmp_path / "a.pt").write_bytes(b"x")
    look_up(tmp_path / "a.pt", trained=True)


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from effscope.models import naming

    monkeypatch.setattr(naming, "find_spec", lambda name: None)
    for ask in (lambda: api.cost("timm:ghostnet_100"), lambda: api.zoo(backbones=True)):
        with pytest.raises(EffscopeError, match=r'is not installed: pip install "effscope\[(timm|torchvision)\]"'):
            ask()


def test_the_folder_of_an_unfinished_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(EffscopeError, match="not finished, so it has no model yet: run the same command again"):
        find_model(str(tmp_path))
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(EffscopeError, match="ended without a model"):
        find_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert find_model(str(tmp_path)).kind == "run"
