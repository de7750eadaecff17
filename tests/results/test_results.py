"""Results: the way through dicts and files, whole files or none, and tables of rows."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import pytest

from effscope import api, results
from effscope.errors import EffscopeError
from effscope.files import write_bytes, write_text
from effscope.results import (
    CostResult,
    CostRow,
    CounterRow,
    CountersResult,
    CounterTerm,
    DeviceRow,
    DevicesResult,
    DiffResult,
    DiffRow,
    ErrorKind,
    EvalResult,
    ExportResult,
    HeadUse,
    LatencyResult,
    LatencyRow,
    LayerCostResult,
    LayerTransfer,
    OrderVariant,
    Origin,
    RankResult,
    Result,
    ScaleResult,
    ScaleRow,
    SearchResult,
    StageRank,
    TensorRow,
    TensorsResult,
    TrainResult,
    Trial,
    ZooResult,
    ZooRow,
    origin,
)

MADE = Origin("effscope search", {"imgsz": 64, "recipe": {"lr": 0.1}}, "abc", "def", (0, 1), {"torch": "2"}, "here")
SCORES: dict[str, Any] = {
    "model": "m", "ap": 0.4, "ap50": 0.6, "ap75": 0.5, "ap_s": None, "ap_m": 0.1, "ap_l": 0.7,
    "per_class": {"zelle": 0.4, "none": None}, "images": 3, "boxes": 7, "origin": MADE,
}  # fmt: skip
TRIAL = Trial(8, "cib", 90, 900, 0.3, 0.41, (0.4, 0.42), 0.4, 0.01, (-0.01, 0.03), "accepted")
STAGE = StageRank(8, "model.21.cv2.conv", (256, 384), 256, 8, 0.03125, 0.5, 99.5, 3.25, (1, 2), False)
NOT_RANKED = StageRank(1, "model.2.cv2.conv", (32, 9), 32, None, None, None, None, None, (), False, "depthwise")

COUNTER_ROWS = (
    CounterRow("fvcore", "MACs", 90, 80, "fvcore's count", 90, "0.1.5"),
    CounterRow("torch", "FLOPs", 160, 160),
)
LATENCY_ROWS = (
    LatencyRow("m", "forward", "whole", 9.5, 0.5, 9.1, 4.5, "compute", 900, 90),
    LatencyRow("m", "NMS, 10 objects, conf 0.25", "post", 0.4, 0.1, 0.3),
)
ZOO_ROWS = (ZooRow("yolov8n", 9, 8, 7, 6, 5, 4, 3.2, 8.7), ZooRow("other"))

EXAMPLES: dict[type[Result], Result] = {
    CostResult: api.cost("yolov8n", 64),
    TensorsResult: TensorsResult("w", 12, ("the rest",), (TensorRow("model.0", "Conv", 12),), MADE, ("a note",)),
    ZooResult: ZooResult("t", "640 px", "s", ("params", "macs"), ZOO_ROWS, MADE),
    ExportResult: ExportResult("m", 64, {"yaml": "m.yaml", "pt": "m.pt"}, ("a note",), MADE),
    LayerCostResult: api.layer_cost("conv3x3", 8),
    ScaleResult: api.scaled_cost("yolov8n", "0,1"),
    DiffResult: api.diff("yolov8n", "yolov10n"),
    CountersResult: CountersResult(
        "m", 64, 80, COUNTER_ROWS, (CounterTerm("fvcore", "batchnorm", "2 per value", 3, 10),), MADE, ("a note",)
    ),
    DevicesResult: DevicesResult((DeviceRow("Raspberry Pi 4", 48e9, None, None, 12.8e9, "a brief"),), MADE),
    LatencyResult: LatencyResult(
        64, "a processor", 2, "float32", "torch", 5, "NVIDIA T4", "float16", 65e12, 320e9, 203.125, "a paper", True,
        LATENCY_ROWS, MADE, {"m": 1.02}, ("a note",),
    ),
    RankResult: RankResult(
        "m", "s", {"at": "stage", "threshold": 0.5}, (STAGE, NOT_RANKED), (8,), MADE, ((8, 4),), ((8, 4, 7),),
        (OrderVariant("threshold 0.3", (8, 4), ((8, 4),), 0.5), OrderVariant("model x", (8,))),
        (HeadUse("attn", 1, 2, 49, 3.5, 0.9, 0.8, 2, 0.8),), ("a note",),
    ),
    EvalResult: EvalResult(**SCORES, errors=(ErrorKind("both", 3, 0.5, 0.4, 0.1, 0.05),)),
    TrainResult: TrainResult(
        **SCORES, images_per_s=3.5, epochs=2, peak_memory_mb=1.5, seconds=9.0, transfer="", files={"a": "b"},
        history=({"epoch": 1, "box": 0.5}, {"epoch": 2, "box": 0.25}), ap_se=0.01, notes=("a note",),
        transfer_layers=(LayerTransfer("model.22", "Detect", "partial", 3, 1, 5, 30, 50),),
    ),
    SearchResult: SearchResult(
        "m", 0.4, 0.35, 100, 1000, (8, 4), (TRIAL,), (8,), "every stage was tried",
        {"params": 0.1, "flops": 0.2, "latency": -0.3}, {"weights": "w"}, 3.5, ("a note",), MADE,
    ),
}  # fmt: skip


def all_results() -> list[type[Result]]:
    found, todo = [], [Result]
    while todo:
        below = todo.pop().__subclasses__()
        found += below
        todo += below
    return found


def test_every_result_is_walked() -> None:
    assert set(EXAMPLES) == set(all_results())


def test_the_package_offers_what_its_modules_define() -> None:
    modules = [import_module(f"effscope.results.{found.name}") for found in iter_modules(results.__path__)]
    defined = {name: value for m in modules for name, value in vars(m).items() if is_own(value, m)}
    assert set(defined) <= set(results.__all__) <= set(dir(results))
    assert all(getattr(results, name) is value for name, value in defined.items())
    assert all(hasattr(results, name) for name in results.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        results.nothing  # noqa: B018


def is_own(value: Any, module: ModuleType) -> bool:
    """Whether a class or function was written in the module."""
    return getattr(value, "__module__", None) == module.__name__


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_the_way_through_dicts_and_json(kind: type[Result]) -> None:
    result = EXAMPLES[kind]
    assert kind.from_dict(result.to_dict()) == result
    assert kind.from_dict(json.loads(result.to_json())) == result
    assert set(result.to_dict()) == {f.name for f in fields(result)} - {"spectra"}


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_save_and_load(kind: type[Result], tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "result.json"
    assert EXAMPLES[kind].save(file) == file
    assert kind.load(file) == kind.load(str(file)) == EXAMPLES[kind]
    assert [p.name for p in file.parent.iterdir()] == ["result.json"]
    assert file.read_text(encoding="utf-8").endswith("}\n")


COLUMNS = {
    CostResult: [f.name for f in fields(CostRow)],
    TensorsResult: [f.name for f in fields(TensorRow)],
    ZooResult: [f.name for f in fields(ZooRow)],
    ExportResult: ["format", "file"],
    LayerCostResult: ["name", "params", "macs", "flops", "ratio", "activation_bytes", "bytes", "intensity", "source"],
    ScaleResult: [f.name for f in fields(ScaleRow)],
    DiffResult: [f.name for f in fields(DiffRow)],
    CountersResult: [f.name for f in fields(CounterRow)],
    DevicesResult: [f.name for f in fields(DeviceRow)],
    LatencyResult: [f.name for f in fields(LatencyRow)],
    RankResult: [f.name for f in fields(StageRank)],
    EvalResult: ["class", "ap"],
    TrainResult: ["class", "ap"],
    SearchResult: [f.name for f in fields(Trial)],
}
ROWS = {
    CountersResult: 2,
    CostResult: 23, TensorsResult: 1, ExportResult: 2, ZooResult: 2, LayerCostResult: 5, ScaleResult: 2,
    DiffResult: 10, DevicesResult: 1, LatencyResult: 2, RankResult: 2, EvalResult: 2,
    TrainResult: 2, SearchResult: 1,
}  # fmt: skip


def test_a_table_of_models_is_there_after_loading(tmp_path: Path) -> None:
    frame = ZooResult.load(EXAMPLES[ZooResult].save(tmp_path / "zoo.json")).to_frame()
    assert list(frame["model"]) == ["yolov8n", "other"]


def test_shapes_in_cost_rows_are_plain_numbers() -> None:
    result = EXAMPLES[CostResult]
    assert isinstance(result, CostResult)
    for row in (*result.layers, *result.stages, *result.ops):
        assert all(isinstance(side, int) for side in row.shape), row


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_frames_have_the_columns_of_their_rows(kind: type[Result]) -> None:
    frame = EXAMPLES[kind].to_frame()
    assert list(frame.columns) == COLUMNS[kind]
    assert len(frame) == ROWS[kind]


@pytest.mark.parametrize("broken", [{}, {"model": "m"}, {"origin": {}}, {"origin": 3}, [], None, 3, "text"], ids=str)
def test_data_of_something_else_is_refused(broken: Any) -> None:
    for kind in EXAMPLES:
        with pytest.raises(EffscopeError):
            kind.from_dict(broken)


def test_rows_of_something_else_are_refused() -> None:
    data = EXAMPLES[SearchResult].to_dict()
    for rows in ([{"stage": 8}], [3], 3, [{**data["trials"][0], "colour": 1}]):
        with pytest.raises(EffscopeError):
            SearchResult.from_dict({**data, "trials": rows})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'"a"', b"null"])
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "result.json"
    file.write_bytes(content)
    with pytest.raises(EffscopeError):
        RankResult.load(file)
    with pytest.raises(EffscopeError, match=r"cannot read .*gone\.json"):
        RankResult.load(tmp_path / "gone.json")


def test_files_are_utf8_whatever_the_text(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "Zellzählung 细胞\r\nend")
    assert (tmp_path / "a.txt").read_bytes() == "Zellzählung 细胞\r\nend".encode()


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")
    real = Path.write_bytes

    def fail(self: Path, *args: Any) -> None:
        if step == "write_bytes":
            real(self, b"ha")
        raise OSError("disk full")

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(EffscopeError, match=r"cannot write .*disk full"):
        write_bytes(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_an_interrupted_write_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        EXAMPLES[EvalResult].save(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_origin_says_how_to_make_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/effscope", "cost", "my model.pt"])
    made = origin({"a": 1}, "layout", "data", (3,))
    assert made.command.startswith("effscope cost ")
    assert (made.config, made.layout, made.data, made.seeds) == ({"a": 1}, "layout", "data", (3,))
    assert set(made.versions) == {*results.PACKAGES, "python"}
    assert made.format_version == results.FORMAT_VERSION
    assert results.version("no such package") == "none"


def test_command_of_the_origin_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["effscope", "cost", "my model.pt", "--out", "a'b"]
    monkeypatch.setattr("sys.argv", words)
    assert shlex.split(origin().command) == words
