"""Saved results: what opens, what is refused and why, typed configs, relative paths."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from support.results import EXAMPLES, RANKS

import effscope
from effscope import api, config, results
from effscope.costing.laws import OTHER_KINDS
from effscope.errors import EffscopeError
from effscope.results import (
    Change,
    DiffResult,
    EvalResult,
    ExportResult,
    RankResult,
    Result,
    SearchResult,
    TrainResult,
    load_result,
)
from effscope.results.codec import plain, read


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
        ({"ranks": {"result": "cost", "format_version": 3}}, "`ranks` holds a result of kind 'cost', expected a rank"),
        ({"format_version": None}, "a search result with no format_version, expected 3: run the command again"),
        ({"format_version": 4}, "a search result with format_version 4, expected 3: run the command again"),
        ({"result": "train"}, "a result of kind 'train', expected a search result: `load_result` opens any kind"),
        ({"result": None}, "no 'result' key, expected a search result"),
        ({"result": None, "origin": {"format_version": 1}}, "a saved result with format_version 1, expected 3"),
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
        assert type(found) in {
            type(None),
            *(getattr(config, name) for name in config.__all__ if name.endswith("Config")),
        }
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


def test_files_are_found_from_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "run" / "best.bin").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "run link").symlink_to(tmp_path / "run")
    for home, place in (("run", "link"), ("run link", "run link"), ("run link", "run"), ("run link", "link")):
        live = replace(EXAMPLES[ExportResult], files={"weights": str(tmp_path / home / "best.bin")})
        found = load_result(live.save(tmp_path / place / "result.json"))
        assert Path(found.files["weights"]).read_bytes() == b"x"  # type: ignore[union-attr]
