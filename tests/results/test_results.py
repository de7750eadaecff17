"""Results: through dicts and files and back, typed configs, relative paths, and main tables."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, ClassVar, Literal, TypeVar

import pytest
from support.results import EXAMPLES, RANKS

import effscope
from effscope import api, config, results
from effscope.costing.laws import OTHER_KINDS
from effscope.errors import EffscopeError
from effscope.files import write_bytes, write_text
from effscope.results import (
    KINDS,
    Change,
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
from effscope.results.codec import plain, read


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
    inner = {"codec", "frozen"}
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
        with pytest.raises(EffscopeError, match=f"expected a {kind.KIND} result"):
            kind.from_dict(broken)


def changed(kind: type[Result], **keys: Any) -> dict[str, Any]:
    """The example of a kind as JSON data, with other values at some keys; None takes the key away."""
    data = {**json.loads(EXAMPLES[kind].to_json()), **keys}
    return {key: value for key, value in data.items() if value is not None}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"trials": [{"stage": 8}]}, "missing key `trials[0].move` of Trial"),
        ({"trials": [3]}, "key `trials[0]` is 3, expected the fields of Trial"),
        ({"trials": 3}, "key `trials` is 3, expected a list"),
        ({"base_ap": None}, "missing key `base_ap` of SearchResult"),
        ({"colour": 1}, "unknown key `colour`: SearchResult has base, "),
        ({"base_params": 1.5}, "key `base_params` is 1.5, expected a whole number"),
        ({"base_params": True}, "key `base_params` is True, expected a whole number"),
        ({"margin": "wide"}, "key `margin` is 'wide', expected a number"),
        ({"base": 3}, "key `base` is 3, expected a text"),
        ({"order": [1, "two"]}, "key `order[1]` is 'two', expected a whole number"),
        ({"saved": {"params": "much"}}, "key `saved.params` is 'much', expected a number"),
        (
            {"accepted": [{"stage": 8, "move": "cib", "colour": 1}]},
            "unknown key `accepted[0].colour`: Change has",
        ),
        ({"ranks": {"result": "cost", "format_version": 2}}, "`ranks` holds a result of kind 'cost', expected a rank"),
        ({"format_version": None}, "a search result with no format_version, expected 2: make it again"),
        ({"format_version": 3}, "a search result with format_version 3, expected 2: make it again"),
        ({"result": "train"}, "a result of kind 'train', expected a search result: `load_result` opens any kind"),
        ({"result": None}, "no 'result' key, expected a search result"),
        ({"result": None, "origin": {"format_version": 1}}, "a saved result with format_version 1, expected 2"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_key_is_named(keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    data = changed(SearchResult, **keys)
    for refuse in (SearchResult.from_dict, lambda found: load_result(written(tmp_path, found))):
        if refuse is not SearchResult.from_dict and keys.keys() & {"result"}:
            continue
        with pytest.raises(EffscopeError) as caught:
            refuse(data)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_infinity_is_no_number() -> None:
    with pytest.raises(EffscopeError, match=r"key `margin` is inf, expected a number"):
        SearchResult.from_dict({**EXAMPLES[SearchResult].to_dict(), "margin": float("inf")})


def written(folder: Path, data: Any, name: str = "some.json") -> Path:
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder / name


def test_a_config_comes_back_as_its_class() -> None:
    for kind, result in EXAMPLES.items():
        found = kind.from_dict(json.loads(result.to_json())).origin.config  # type: ignore[attr-defined]
        assert found == result.origin.config  # type: ignore[attr-defined]
        assert type(found) in {type(None), *(value for value in vars(config).values() if isinstance(value, type))}
        assert isinstance(result.to_dict()["origin"]["config"], dict)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_does_not_have_are_never_written(value: float, tmp_path: Path) -> None:
    result = replace(EXAMPLES[SearchResult], saved={"params": value})
    with pytest.raises(EffscopeError, match=r"`saved\.params` is .*cannot be saved"):
        result.save(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_files_are_found_where_their_result_lies(tmp_path: Path) -> None:
    home = tmp_path / "run"
    for kind in (SearchResult, TrainResult, EvalResult, ExportResult):
        home.mkdir()
        (home / "w").mkdir()
        (home / "w" / "best.bin").write_bytes(b"x")
        live = replace(EXAMPLES[kind], files={"weights": str(home / "w" / "best.bin")})
        live.save(home / "result.json")
        assert json.loads((home / "result.json").read_text())["files"] == {"weights": "w/best.bin"}
        assert kind.load(home / "result.json") == live
        moved = shutil.move(home, tmp_path / f"moved-{kind.KIND}")
        for found in (kind.load(moved / "result.json"), load_result(moved)):
            assert Path(found.files["weights"]).read_bytes() == b"x"  # type: ignore[union-attr]


def test_a_list_of_results_is_a_tuple(tmp_path: Path) -> None:
    several = [EXAMPLES[RankResult], EXAMPLES[DiffResult]]
    file = results.save_results(tmp_path / "ranks.json", several)
    assert effscope.load_result(file) == tuple(several)
    for broken in ([], [3], [several[0].to_dict(), {}]):
        with pytest.raises(EffscopeError, match=r"cannot read .*some\.json: it holds"):
            load_result(written(tmp_path, broken))


def test_a_folder_is_its_one_result(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="holds no saved result"):
        load_result(tmp_path)
    written(tmp_path, [{"image": "a.png"}], "detections.json")
    written(tmp_path, {"origin": {}}, "other.json")
    EXAMPLES[RankResult].save(tmp_path / "rank.json")
    assert load_result(tmp_path) == EXAMPLES[RankResult]
    EXAMPLES[SearchResult].save(tmp_path / "search.json")  # rank.json is the base of this search
    assert isinstance(load_result(tmp_path), SearchResult)
    EXAMPLES[TrainResult].save(tmp_path / "train.json")
    with pytest.raises(EffscopeError, match=r"several results: give one of search\.json, train\.json"):
        load_result(tmp_path)


def test_a_kind_of_the_future_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EffscopeError, match="a result of kind 'dream', expected one of rank, cost"):
        load_result(written(tmp_path, {"result": "dream", "format_version": results.FORMAT_VERSION}))


def test_lists_of_numbers_are_one_line() -> None:
    text = results.json_text({"a": [1, 2.5, -1e-9], "b": ["[\n 1\n]"], "c": [], "d": [[1], [2, 3]]})
    assert '"a": [1, 2.5, -1e-09],' in text
    assert json.loads(text) == {"a": [1, 2.5, -1e-9], "b": ["[\n 1\n]"], "c": [], "d": [[1], [2, 3]]}


def test_spectra_are_saved_with_six_digits() -> None:
    (spectrum,) = RANKS.spectra
    assert spectrum.values == (1.23457, 3.33333e-10) and spectrum.null == (1.0, 0.333333)
    assert all(value == float(f"{value:.6g}") for s in api.rank("yolov8n").spectra for value in s.values)


def test_the_counts_beside_multiply_adds_have_one_order() -> None:
    assert results.OTHER_KINDS == OTHER_KINDS


@dataclass(frozen=True)
class Odd:
    """Annotations that no result has yet."""

    NOTHING: ClassVar[int] = 0

    word: Literal["a", "b"]
    pair: tuple[int, str]
    maybe: dict[str, Change] | None = None
    either: int | str = 0


def test_annotations_decide_what_is_read() -> None:
    odd = Odd("a", (1, "x"), {"k": Change(1, "cib")}, "t")
    assert read(Odd, json.loads(json.dumps(plain(odd)))) == odd
    for key, value, said in (
        ("word", "c", "expected one of a, b"),
        ("pair", [1], "expected a list of 2"),
        ("either", 1.5, "expected a text"),
        ("maybe", 3, "expected an object"),
    ):
        with pytest.raises(EffscopeError, match=f"`{key}` is .*{said}"):
            read(Odd, {**plain(odd), key: value})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'"a"', b"null"])
def test_files_of_something_else_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "result.json"
    file.write_bytes(content)
    with pytest.raises(EffscopeError):
        RankResult.load(file)
    with pytest.raises(EffscopeError, match=r"cannot read .*gone\.json"):
        RankResult.load(tmp_path / "gone.json")


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
