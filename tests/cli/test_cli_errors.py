"""What the command line says when something is wrong: one line, and an exit code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import run

from effscope import __main__ as entry
from effscope import api
from effscope.errors import EffscopeError, NegativeAnswer


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EffscopeError("m.pt: not a model: give another"), 2, "error: m.pt: not a model: give another\n"),
        (NegativeAnswer("the base has not learned"), 1, "error: the base has not learned\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; finished work is kept"),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(api, "search", fail)
    assert run(monkeypatch, "search") == code
    assert capsys.readouterr().err.startswith(said)
    assert run(monkeypatch, "search", "-q") == code
    if isinstance(error, EffscopeError):
        monkeypatch.setattr(sys, "argv", ["effscope", "search", "--debug"])
        with pytest.raises(type(error)):
            entry.main()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("cost nowhere.pt", "nowhere.pt"),
        ("cost yolov9q", "yolov9"),
        ("cost torchvision:resnet5", "resnet50"),
        ("export yolov8n --to tflite", "onnx"),
        ("zoo yolo99", "effscope zoo"),
        ("cost", "--layer"),
        ("cost yolov8n --layer conv3x3", "exactly one of"),
        ("cost yolov8n --by colour", "layer, stage, op"),
        ("cost yolov8n --imgsz 0", "--imgsz"),
        ("cost yolov8n --imgsz 33", "imgsz"),
        ("cost yolov8n --imgsz many", "--imgsz"),
        ("cost yolov8n-p6 --imgsz 736", "--imgsz must be a multiple of 64"),
        ("latency yolov8n yolov8n-p6 --imgsz 736", "--imgsz must be a multiple of 64"),
        ("diff yolov8n yolov8n-p6 --imgsz 320x736", "--imgsz must be a multiple of 64"),
        ("cost --layer pool3x3", "conv3x3"),
        ("cost --layer conv2x2", "odd"),
        ("cost --layer conv3x3 --cin 0", "--cin"),
        ("cost --layer conv3x3 --cout -1", "--cout"),
        ("cost --layer conv3x3 --stride 0", "--stride"),
        ("cost --layer conv3x3 --size 0", "--size"),
        ("cost .", "folder"),
        ("rank", "MODEL"),
        ("rank yolov8n --at top", "stage, block"),
        ("rank yolov8n --threshold 2", "between 0 and 1"),
        ("rank nowhere", "nowhere"),
        ("eval yolov8n --data builtin:shapes", "no weights"),
        ("eval yolov8n", "--data"),
        ("search --rule luck", "margin, paper"),
        ("search --moves prune", "cib, cib-lk"),
        ("search --target params=30", "--target"),
        ("search --target speed=-30%", "params=-30%"),
        ("search --target latency=-20% --latency-table nowhere.csv", "nowhere.csv"),
        ("search --target params=15%", "write params=-15%"),
        ("search --runs 4", "--runs must be 2, 3 or 5"),
        ("search --margin 1", "below 1 (0.01 is one AP point)"),
        ("search --epochs 0", "--epochs"),
        ("cost yolov8n --csv -", "only --json takes -"),
        ("rank yolov8n --out -", "only --json takes -"),
        ("cost yolov8n --json a --csv ./a", "the same file"),
        ("export yolov8n --to onnx --library", "leave out --to, or --library"),
        ("search --margin 3", "--margin"),
        ("train nowhere", "nowhere"),
        ("train yolov8n --data nowhere", "nowhere"),
        ("train yolov8n --batch 0", "--batch"),
        ("fly", "fly"),
        ("zoo --speed 3", "--speed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert named in err
    assert list(tmp_path.iterdir()) == []


NO_MODELS = {"a.pt": b"", "b.pt": b"PK\x03\x04", "c.yaml": b"a: [", "d.yaml": b"nc: 3",
             "e.safetensors": b"\x08" + b"\0" * 20, "f.yaml": b"\xff\xfe", "g.txt": b"x", "h.yaml": b"",
             "i.yaml": b"backbone: []\nhead: []\n"}  # fmt: skip


@pytest.mark.parametrize("command", ["cost", "rank"])
@pytest.mark.parametrize("name", NO_MODELS)
def test_files_that_are_no_models_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    (tmp_path / name).write_bytes(NO_MODELS[name])
    assert run(monkeypatch, command, str(tmp_path / name)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert name in err


@pytest.mark.parametrize("option", ["--json", "--csv", "--out"])
def test_places_that_cannot_be_written_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    place = tmp_path / ("file" if option == "--out" else "folder")
    assert run(monkeypatch, "cost", "yolov8n", "-q", option, str(place)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


def test_an_error_is_wrapped_on_a_terminal_and_one_line_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("cost", "yolov8n", "--by", "colour")
    assert run(monkeypatch, *words) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and len(line) > 40
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(monkeypatch, *words) == 2
    shown = capsys.readouterr().err
    assert shown.split() == line.split()
    assert max(map(len, shown.splitlines())) <= 40


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with files of a user; none of the commands may begin."""
    monkeypatch.chdir(tmp_path)
    for name in ("best.pt", "model.yaml", "data.yaml", "t/model.safetensors", "coco/ann.json", "coco/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"kept {name}")
    for name in ("rank", "eval", "search", "train", "compare"):
        monkeypatch.setattr(api, name, lambda *args, **options: pytest.fail("began"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("rank best.pt --out best.pt", "--out needs a folder, and best.pt is a file"),
        ("rank best.pt --out best.pt/deep/er", "best.pt is a file"),
        ("rank best.pt --csv t", "--csv: t is a folder"),
        ("rank best.pt --json t/../best.pt", "choose another --json"),
        ("rank t --csv t/model.safetensors", "choose another --csv"),
        ("eval best.pt --data data.yaml --csv data.yaml", "choose another --csv"),
        ("eval best.pt --data yolo:data.yaml --json data.yaml", "choose another --json"),
        ("eval best.pt --data coco --json coco/ann.json", "choose another --json"),
        ("eval best.pt --data coco:coco --csv coco/a.txt", "choose another --csv"),
        ("compare t,best.pt t --data coco --json best.pt", "choose another --json"),
        ("compare b*.pt t --data coco --json best.pt", "choose another --json"),
        ("search model.yaml --out .", "choose another --out"),
        ("train model.yaml --out .", "choose another --out"),
        ("train yolov8n --weights t/model.safetensors --out t", "choose another --out"),
    ],
)
def test_what_was_given_is_never_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mine: Path, words: str, named: str
) -> None:
    assert run(monkeypatch, *words.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert named in err
    files = [file for file in mine.rglob("*") if file.is_file()]
    assert len(files) == 6 and all(file.read_text() == f"kept {file.relative_to(mine).as_posix()}" for file in files)


@pytest.mark.parametrize(
    "words",
    [
        "rank t --json t/rank.json --out t",
        "eval t --data coco --json coco/eval.json --csv coco/eval.csv --out coco",
        "eval t/model.safetensors --data data.yaml --json - --out t",
    ],
)
def test_results_may_be_written_again_beside_what_was_given(
    monkeypatch: pytest.MonkeyPatch, mine: Path, words: str
) -> None:
    for name in ("t/rank.json", "coco/eval.json"):
        api.cost("yolov8n").save(mine / name)
    (mine / "coco" / "eval.csv").write_text("x")
    with pytest.raises(pytest.fail.Exception, match="began"):
        run(monkeypatch, *words.split())
