"""Results: through dicts and files and back, files whole or not there, main tables, origins."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, TypeVar

import pytest
from support.results import EXAMPLES

from effscope import config, results
from effscope.errors import EffscopeError
from effscope.files import write_bytes, write_text
from effscope.results import (
    KINDS,
    CompareResult,
    CostResult,
    CostRow,
    CounterRow,
    CountersResult,
    DeviceRow,
    DevicesResult,
    DiffResult,
    DiffRow,
    EvalResult,
    ExportResult,
    LatencyResult,
    LatencyRow,
    LayerCostResult,
    RankResult,
    Result,
    ScaleResult,
    ScaleRow,
    ScoredRun,
    Scores,
    SearchResult,
    StageRank,
    TensorRow,
    TensorsResult,
    TrainResult,
    Trial,
    ZooResult,
    ZooRow,
    load_result,
    origin,
)


def all_results() -> list[type[Result]]:
    found, todo = [], [Result]
    while todo:
        below = todo.pop().__subclasses__()
        found += below
        todo += below
    return found


def test_every_result_is_walked() -> None:
    assert {*EXAMPLES, Scores} == set(all_results())
    assert {kind.KIND: kind.__name__ for kind in EXAMPLES} == KINDS


def test_the_package_offers_what_its_modules_define() -> None:
    inner = {"codec", "frozen", "showing"}
    names = [found.name for found in iter_modules(results.__path__) if found.name not in inner]
    modules = [import_module(f"effscope.results.{name}") for name in names]
    defined = {name: value for m in modules for name, value in vars(m).items() if is_own(value, m)}
    defined = {name: value for name, value in defined.items() if not name.startswith("_") and name != "read_json"}
    assert set(defined) <= set(results.__all__) <= set(dir(results))
    assert all(getattr(results, name) is value for name, value in defined.items())
    assert all(hasattr(results, name) for name in results.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        results.nothing  # noqa: B018


def is_own(value: Any, module: ModuleType) -> bool:
    """Whether a class or function was written in the module."""
    return getattr(value, "__module__", None) == module.__name__ and not isinstance(value, TypeVar)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_the_way_through_dicts_and_json(kind: type[Result]) -> None:
    result = EXAMPLES[kind]
    assert kind.from_dict(result.to_dict()) == result
    assert kind.from_dict(json.loads(result.to_json())) == result
    assert list(result.to_dict()) == ["result", "format_version", *(f.name for f in fields(result))]
    assert list(result.to_dict().values())[:2] == [kind.KIND, results.FORMAT_VERSION]


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda k: k.__name__)
def test_save_and_load(kind: type[Result], tmp_path: Path) -> None:
    file = tmp_path / "deep" / "er" / "result.json"
    assert EXAMPLES[kind].save(file) == file
    assert kind.load(file) == kind.load(str(file)) == load_result(file) == as_if_beside(EXAMPLES[kind], file)
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
    EvalResult: ["class", "ap", "ap50", "precision", "recall", "f1", "boxes"],
    CompareResult: [f.name for f in fields(ScoredRun)],
    TrainResult: ["class", "ap"],
    SearchResult: [
        *(f.name for f in fields(Trial) if f.name != "latency"),
        "latency_ms",
        "latency_iqr_ms",
        "latency_all_ms",
        "latency_all_iqr_ms",
    ],
}
ROWS = {
    CountersResult: 2,
    CostResult: 23, TensorsResult: 1, ExportResult: 2, ZooResult: 2, LayerCostResult: 5, ScaleResult: 2,
    DiffResult: 10, DevicesResult: 1, LatencyResult: 2, RankResult: 2, EvalResult: 2,
    CompareResult: 3,
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


def as_if_beside(result: Result, file: Path) -> Result:
    """The example with the paths that a loaded one has: the examples name files in the working directory."""
    return result.relative_to(file).beside(file)


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
    made = origin(config.DiffConfig(64), "layout", {"val": "data"}, (3,), "weights")
    assert made.command.startswith("effscope cost ")
    assert (made.config, made.layout, made.data, made.seeds) == (config.DiffConfig(64), "layout", {"val": "data"}, (3,))
    assert made.weights == "weights"
    assert set(made.versions) == {*results.PACKAGES, "python"}
    assert results.version("no such package") == "none"


def test_command_of_the_origin_can_be_pasted_into_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["effscope", "cost", "my model.pt", "--out", "a'b"]
    monkeypatch.setattr("sys.argv", words)
    assert shlex.split(origin().command) == words
