"""A detector scored as it is deployed: exported, in int8, as a file; by the commands that users type."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from support.tiny_search import tiny_place, train_tiny

from effscope import api
from effscope.errors import EffscopeError
from effscope.exporting.graph_detector import graph_size

SIDE = 64


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained base, its data, and its exported files."""
    folder = tiny_place(tmp_path_factory.mktemp("deployed"))
    train_tiny(folder)
    data = str(folder / "data" / "data.yaml")
    done = api.export(str(folder / "trained"), "onnx,int8", folder / "files", SIDE, data=data)
    assert set(done.files) == {"onnx", "int8"}
    assert any("ranges of at most 64 images" in note for note in done.notes)
    return folder


def files(place: Path) -> dict[str, str]:
    return {"int8": str(next(place.glob("files/*_int8.onnx"))), "onnx": str(place / "files" / "trained.onnx")}


def test_the_exported_file_scores_like_the_model_in_onnxruntime(place: Path) -> None:
    """The images are squares, so padding makes no difference to torch either."""
    data, known = str(place / "data" / "data.yaml"), files(place)
    torch = api.eval(str(place / "trained"), data, device="cpu")
    by_file, by_model = api.eval(known["onnx"], data), api.eval(str(place / "trained"), data, runtime="onnx")
    assert torch.latency is None and torch.runtime == ""
    for found in (by_file, by_model):
        assert found.ap == pytest.approx(torch.ap, abs=1e-3)
        assert found.latency is not None and found.latency.ms > 0
        assert found.runtime.startswith("onnxruntime ")
        assert found.origin.config is not None and found.origin.config.runtime == "onnx"


def test_int8_is_another_model_with_nearly_the_same_ap(place: Path) -> None:
    data, known = str(place / "data" / "data.yaml"), files(place)
    whole, small = api.eval(known["onnx"], data), api.eval(known["int8"], data)
    assert small.origin.layout != whole.origin.layout
    assert small.ap == pytest.approx(whole.ap, abs=0.1)
    assert small.ap != whole.ap


def test_weights_in_a_second_file_are_found_beside_the_first(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's exporter writes them so by default."""
    data, known = str(place / "data" / "data.yaml"), files(place)
    model = onnx.load(known["onnx"])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    monkeypatch.chdir(place)
    assert api.eval(str(tmp_path / "m.onnx"), data).ap == pytest.approx(api.eval(known["onnx"], data).ap, abs=1e-6)
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(EffscopeError, match="cannot be read as ONNX") as caught:
        api.eval(str(tmp_path / "m.onnx"), data)
    assert "\n" not in str(caught.value)


def test_the_size_of_a_file_is_known_without_running_it(place: Path, tmp_path: Path) -> None:
    """`--runtime torch` takes it too."""
    assert graph_size(Path(files(place)["onnx"])) == SIDE
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    assert graph_size(tmp_path / "broken.onnx") is None


def test_what_cannot_be_run_is_said(place: Path) -> None:
    data, known = str(place / "data" / "data.yaml"), files(place)
    with pytest.raises(EffscopeError, match="the graph is for images of 64 px, not 128"):
        api.eval(known["onnx"], data, imgsz=128)
    with pytest.raises(EffscopeError, match="unknown `runtime` 'tensorrt'"):
        api.eval(known["onnx"], data, runtime="tensorrt")
    with pytest.raises(EffscopeError, match="int8 needs images for the ranges of its values: give `data`"):
        api.export(str(place / "trained"), "int8", place / "none")
    assert not (place / "none").exists()
    with pytest.raises(EffscopeError, match="`data` is used only for int8"):
        api.export(str(place / "trained"), "onnx", place / "none", data=data)
    with pytest.raises(EffscopeError, match="reads squares of one size; `convention` ultralytics pads more"):
        api.eval(known["onnx"], data, convention="ultralytics")
    with pytest.raises(EffscopeError, match="no class in common"):
        api.eval(known["onnx"], "builtin:shapes")


@pytest.mark.parametrize(("others", "runtime", "said"), [(30.0, "onnx", 1), (0.0, "onnx", 0), (30.0, "torch", 0)])
def test_a_busy_machine_is_said_where_an_evaluation_times(
    others: float, runtime: str, said: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("effscope.training.threads.cores_of_others", lambda: others)
    lines: list[str] = []
    data = str(place / "data" / "data.yaml")
    api.eval(str(place / "trained"), data, limit_val=1, runtime=runtime, device="cpu", say=lines.append)
    assert len([line for line in lines if "this machine is busy: other processes use 30.0 of" in line]) == said
