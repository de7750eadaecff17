"""Exported files open again, in effscope and in other tools, and give the same outputs."""

from __future__ import annotations

import json
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.golden_files import lively

from effscope import api
from effscope.api.exporting import LIBRARY_MODEL, LIBRARY_TABLE
from effscope.checkpoint.write import write_safetensors
from effscope.config import EvalConfig
from effscope.config.counting import EXPORT_FORMATS
from effscope.detect.predict import detect
from effscope.errors import EffscopeError
from effscope.exporting import formats, onnx_graph
from effscope.exporting.formats import FORMATS
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import layout
from effscope.models.file_metadata import metadata
from effscope.models.open import open_model
from effscope.nn.build import Network, build
from effscope.nn.fuse import deploy
from effscope.searching.pieces import TABLE
from effscope.searching.policies.library import WHOLE
from effscope.spec.layout import Layout

CLASSES = ("red", "green", "blue")
SIDE = 96
OPENED_AGAIN = {"pt": ".pt", "state_dict": "_state_dict.pt", "safetensors": ".safetensors"}


def searched() -> Layout:
    """A layout like the result of a search: CIBs in two stages and the light head."""
    return move(move(layout("yolov8n", 3), "light-head"), "cib", ["8", "18"])


def images(n: int = 2) -> list[Any]:
    random = np.random.default_rng(5)
    return [random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(n)]


def found(network: Network) -> list[Any]:
    config = EvalConfig(imgsz=SIDE, conf=0.0005, device="cpu")
    return [d for _, d in sorted(detect(network, images(), config), key=lambda pair: pair[0])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    made = searched()
    network = lively(made)
    path = tmp_path_factory.mktemp("given") / "model.safetensors"
    write_safetensors(path, network.state_dict(), metadata(made, CLASSES, SIDE))
    return path, network


@pytest.fixture(scope="module")
def exported(model: tuple[Path, Network], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    result = api.export(str(model[0]), "yaml,pt,safetensors,onnx", tmp_path_factory.mktemp("out"))
    assert result.imgsz == SIDE
    assert set(result.files) == {"yaml", "pt", "state_dict", "safetensors", "onnx"}
    return result.files


def test_every_format_is_tested(exported: dict[str, str]) -> None:
    assert set(FORMATS) - {"int8"} <= set(exported), "int8 is in test_deployed.py"


@pytest.mark.parametrize("name", OPENED_AGAIN)
def test_an_exported_file_opens_and_predicts_the_same_boxes(
    name: str, exported: dict[str, str], model: tuple[Path, Network]
) -> None:
    opened = open_model(exported[name])
    assert opened.layout.layers == searched().layers
    assert opened.classes == (CLASSES if name != "state_dict" else None)
    assert (opened.imgsz or SIDE) == SIDE
    pairs = list(zip(found(opened.network().eval()), found(model[1]), strict=True))
    assert all(len(theirs.boxes) > 3 for _, theirs in pairs)
    for ours, theirs in pairs:
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert np.array_equal(ours.labels, theirs.labels)


def test_the_yaml_is_the_same_model(exported: dict[str, str]) -> None:
    opened = open_model(exported["yaml"])
    assert expand(opened.layout).nodes == expand(searched()).nodes


def test_onnx_predicts_the_same_boxes_and_has_the_class_names(
    exported: dict[str, str], model: tuple[Path, Network]
) -> None:
    session = onnxruntime.InferenceSession(exported["onnx"], providers=["CPUExecutionProvider"])
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(8))
    theirs = session.run(None, {"images": image.numpy()})[0]
    with torch.no_grad():
        ours = deploy(model[1])(image)["decoded"][0].numpy()
    assert np.abs(ours[:, :4] - theirs[:, :4]).max() < 0.05
    assert np.abs(ours[:, 4:] - theirs[:, 4:]).max() < 1e-4
    facts = {entry.key: entry.value for entry in onnx.load(exported["onnx"]).metadata_props}
    assert json.loads(facts["names"]) == {"0": "red", "1": "green", "2": "blue"}
    assert (facts["task"], facts["stride"], json.loads(facts["imgsz"])) == ("detect", "32", [SIDE, SIDE])


@pytest.mark.parametrize("name", ["yolov10n", "yolo26n"])
def test_a_one_to_one_head_is_exported_without_nms(name: str, tmp_path: Path) -> None:
    made = layout(name, 3)
    network = lively(made)
    write_safetensors(tmp_path / "m.safetensors", network.state_dict(), metadata(made, CLASSES, SIDE))
    files = api.export(str(tmp_path / "m.safetensors"), ["onnx"], tmp_path).files
    session = onnxruntime.InferenceSession(files["onnx"], providers=["CPUExecutionProvider"])
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(8))
    rows = session.run(None, {"images": image.numpy()})[0][0]
    candidates = 3 * (SIDE // 8) ** 2 * 21 // 16
    assert rows.shape == (min(300, candidates), 6)
    assert np.all(np.diff(rows[:, 4]) <= 0)
    with torch.no_grad():
        decoded = deploy(network)(image)["decoded"][0][0]
    for row in rows[:20]:
        same = (decoded[4 + int(row[5])] - float(row[4])).abs() < 1e-4
        nearest = (decoded[:4, same].T - torch.from_numpy(row[:4])).abs().amax(1).min()
        assert float(nearest) < 0.05


def test_top_detections_are_the_highest_scores_of_all_anchors_and_classes() -> None:
    decoded = torch.rand(2, 4 + 2, 500, generator=torch.Generator().manual_seed(2))
    rows = onnx_graph.top_detections(decoded)
    for image, mine in zip(decoded, rows, strict=True):
        pairs = sorted(((float(image[4 + c, a]), a, c) for a in range(500) for c in range(2)), reverse=True)[:300]
        assert [round(s, 6) for s, _, _ in pairs] == [round(float(r[4]), 6) for r in mine]
        for (_, a, c), row in zip(pairs, mine, strict=True):
            assert int(row[5]) == c
            assert torch.equal(row[:4], image[:4, a])


def test_the_pt_names_two_globals_of_other_packages_and_pickles_no_module(exported: dict[str, str]) -> None:
    with zipfile.ZipFile(exported["pt"]) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        content = archive.read(name)
    texts = [arg for op, arg, _ in pickletools.genops(content) if op.name in ("SHORT_BINUNICODE", "BINUNICODE")]
    modules = {t for t in texts if t.startswith(("ultralytics", "torch"))}
    assert modules == {"ultralytics.nn.tasks", "torch.nn.modules.module", "torch._utils", "torch"}


def test_the_state_dict_is_plain(exported: dict[str, str], model: tuple[Path, Network]) -> None:
    state = torch.load(exported["state_dict"], weights_only=True)
    own = model[1].state_dict()
    assert set(state) == set(own)
    assert all(torch.equal(state[key], own[key]) for key in own)


@pytest.mark.parametrize("to", ["safetensors", "yaml,safetensors"])
def test_the_users_own_file_is_never_written_over(model: tuple[Path, Network], tmp_path: Path, to: str) -> None:
    own = tmp_path / "best.safetensors"
    own.write_bytes(model[0].read_bytes())
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link"):
        with pytest.raises(EffscopeError, match=r"best\.safetensors is what was given.*choose another `out`"):
            api.export(str(own), to, out)
    assert own.read_bytes() == model[0].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.safetensors", "link"]
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"mine")
    with pytest.raises(EffscopeError, match="choose another `out`"):
        api.export(str(graph), library=True, out=tmp_path)
    assert graph.read_bytes() == b"mine"


def test_the_files_of_a_format_are_those_that_are_looked_for(exported: dict[str, str]) -> None:
    names = {Path(path).name for path in exported.values()}
    assert names == {f"model{ending}" for name in EXPORT_FORMATS if name != "int8" for ending in FORMATS[name].endings}
    assert f"{WHOLE}.onnx" == LIBRARY_MODEL and TABLE == LIBRARY_TABLE


def test_a_library_has_no_formats(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="leave out `to`, or `library`"):
        api.export("yolov8n", "onnx", tmp_path, library=True)


def test_times_in_the_table_of_a_library_stay(tmp_path: Path) -> None:
    table = tmp_path / TABLE
    table.write_text("stage,move,ms\nmodel,,\n4,cib,1.5\n")
    with pytest.raises(EffscopeError, match=r"latency\.csv holds times.*choose another `out`"):
        api.export("yolov8n", library=True, out=tmp_path)
    assert "1.5" in table.read_text() and list(tmp_path.iterdir()) == [table]


def test_an_unknown_format_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="unknown format 'tflite': choose one of yaml, pt, safetensors, onnx"):
        api.export("yolov8n", "yaml,tflite", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_layout_that_yaml_cannot_express_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    made = move(layout("yolov8n", 3), "light-head")
    write_safetensors(tmp_path / "m.safetensors", build(expand(made)).state_dict(), metadata(made, CLASSES, 64))
    for to in ("yaml", "pt"):
        with pytest.raises(EffscopeError, match="light class head"):
            api.export(str(tmp_path / "m.safetensors"), to, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("to", "data", "says"), [
    ("safetensors,int8", None, "int8 needs images"),
    ("safetensors,yaml", None, "yaml cannot be written: .*Ultralytics' YAML has no such block"),
    ("safetensors,int8", "nowhere", "data set 'nowhere' does not exist"),
    (" , ", None, "`to` names no format"),
])  # fmt: skip
def test_needs_of_every_format_are_checked_before_the_first_file(
    tmp_path: Path, to: str, data: str | None, says: str
) -> None:
    with pytest.raises(EffscopeError, match=says):
        api.export("yolox-nano", to, tmp_path / "a" / "b", 64, data=data)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_before_the_first_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(EffscopeError, match="onnx needs onnxscript: pip install onnxscript"):
        api.export("yolov8n", "safetensors,onnx", tmp_path / "out", 64)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("before", [(), ("yolov8n.yaml", "kept.txt")])
def test_a_format_that_fails_while_it_is_written_leaves_the_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    for name in before:
        out.mkdir(exist_ok=True)
        (out / name).write_text("old")
    monkeypatch.setattr(onnx_graph, "TOLERANCE_PX", -1.0)
    with pytest.raises(EffscopeError, match="onnxruntime differs from torch"):
        api.export("yolov8n", "yaml,safetensors,onnx", out, 64)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == set(before)
    assert all((out / name).read_text() == "old" for name in before)
    assert out.exists() == bool(before)


def test_a_folder_in_the_place_of_a_file_is_refused_before_any_file_is_placed(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.yaml").mkdir()
    with pytest.raises(EffscopeError, match=r"yolov8n\.yaml: it is a folder"):
        api.export("yolov8n", "safetensors,yaml", tmp_path, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["yolov8n.yaml"]


def test_the_formats_of_the_settings_are_those_that_are_written() -> None:
    assert tuple(FORMATS) == EXPORT_FORMATS


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "TOLERANCE_PX", -1.0)
    with pytest.raises(EffscopeError, match="onnxruntime differs from torch"):
        api.export("yolov8n", "onnx", tmp_path, 64)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_layout_is_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "odd.pt")
    with pytest.raises(EffscopeError, match="can only be counted and ranked"):
        api.export(str(tmp_path / "odd.pt"), "yaml", tmp_path / "out")


def test_untrained_weights_are_noted(tmp_path: Path) -> None:
    assert any("untrained" in note for note in api.export("yolov8n", "yaml", tmp_path).notes)
