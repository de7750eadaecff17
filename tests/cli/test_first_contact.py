"""The first minutes of a new user: words of other tools, wrong names, help, version, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import run

import effscope
from effscope.cli.app import app
from effscope.config import PROXIES
from effscope.results import version

WORDS = [
    ("train yolov8n data=coco.yaml epochs=10", "write: effscope train yolov8n --data coco.yaml --epochs 10 "),
    ("train model=yolov8n data=coco.yaml device=0", "write: effscope train yolov8n --data coco.yaml --device 0 "),
    ("train yolov8n --seed 3 imgsz=64", "write: effscope train yolov8n --seed 3 --imgsz 64 "),
    ("train yolov8n patience=5", "it has no setting patience  (effscope train --help)"),
    ("eval model=m.pt data=d.yaml batch=8 errors=True", "write: effscope eval m.pt --data d.yaml --batch 8 --errors "),
    ("rank fold_bn=False yolov8n", "effscope rank yolov8n"),
    ("search data=d.yaml limit_val=3", "write: effscope search --data d.yaml --limit-val 3 "),
    ("val", "use effscope eval MODEL --data DATA"),
    ("predict source=x", "use effscope eval MODEL --data DATA --out DIR"),
    ("benchmark", "use effscope latency"),
    ("detect train model=yolov8n", "use effscope train"),
    ("detect val", "use effscope eval"),
    ("trian", "did you mean train"),
    ("model=yolov8n", "effscope needs a command before 'model=yolov8n'"),
    ("train yolov8n --epoch 3", "no option --epoch: did you mean --epochs?  (effscope train --help)"),
    ("train yolov8n --img-size 64", "did you mean --imgsz?  (effscope train --help)"),
    ("rank yolov8n --zzz", "no option --zzz  (effscope rank --help)"),
    ("eval yolov8n", "'--data'.  (effscope eval --help)"),
    ("train yolov8n more", "(effscope train --help)"),
    ("search a.pt --base b.pt", "MODEL is a.pt, --base is b.pt"),
    ("rank yolov8n.pt", "effscope downloads no weights"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), WORDS, ids=[line for line, _ in WORDS])
def test_words_of_other_tools_and_slips_are_answered_with_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *line.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert says in said
    assert list(tmp_path.iterdir()) == []


def test_values_of_options_and_files_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--target params=-30% is a value; a file may be called a=b."""
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "search", "--target", "params=-30%", "--data", "nowhere") == 2
    assert "data set 'nowhere' does not exist" in capsys.readouterr().err
    (tmp_path / "a=b.yaml").write_text("x: 1")
    assert run(monkeypatch, "cost", "a=b.yaml") == 2
    assert "settings are options" not in capsys.readouterr().err


SLOW_TO_LOAD = ("torch", "torchvision", "matplotlib", "pandas")
REFUSED = [
    "rank nosuch.pt", "rank yolov8n nosuch.pt", "rank yolov8n --activations nosuch", "train yolov8n --weights nosuch",
    "eval nosuch.pt --data builtin:shapes", "eval yolov8n --data builtin:shapes", "train nosuch",
    "train yolov8n --data nosuch.yaml",
    "search nosuch.pt", "search --data nosuch.yaml", "search --target latency=-9% --latency-table nosuch.csv",
    "search --against nosuch.pt", "export nosuch.pt", "export yolov8n --to tflite", "latency yolov8n nosuch.pt",
    "compare a.pt b.pt --data builtin:shapes", "compare a/*.pt b.pt --data builtin:shapes", "diff yolov8n nosuch.pt",
    "cost yolov8n.pt --check --as paper", "rank yolov8n --imgsz 100", "latency yolov8n yolov10n --imgsz 100",
]  # fmt: skip


def test_a_wrong_name_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    code = f"""
import io, sys
from effscope.__main__ import main
for line in {REFUSED!r}:
    sys.argv, sys.stderr = ["effscope", *line.split()], io.StringIO()
    try: main()
    except SystemExit as e: code = e.code
    print(code, [m for m in {SLOW_TO_LOAD!r} if m in sys.modules], sys.stderr.getvalue(), end="")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    answers = [line for line in done.stdout.splitlines() if line]
    assert len(answers) == len(REFUSED)
    assert not [answer for answer in answers if not answer.startswith("2 [] ")]
    assert list(tmp_path.iterdir()) == []


def test_an_assumed_model_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "diff", "yolov8n.yaml", "yolov10n") == 0
    assert capsys.readouterr().err == "there is no file 'yolov8n.yaml': this is the built-in layout yolov8n\n"
    assert run(monkeypatch, "cost", "yolov8n.pt", "--details") == 0
    shown = capsys.readouterr()
    told = "there is no file 'yolov8n.pt': this is the built-in layout yolov8n, without its weights\n"
    assert shown.err == told and shown.out.startswith(told)
    for words in (("cost", "yolov8n.pt"), ("diff", "yolov10n", "yolov8n.pt")):
        assert run(monkeypatch, *words, "-q") == 0
        assert capsys.readouterr() == ("", told)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"effscope {effscope.__version__}\n"
    assert effscope.__version__ == version("effscope") != "none"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    """The shell asks with these variables; the answer names commands and options."""
    line, n = "effscope search --lim", "2"
    asked = {"_EFFSCOPE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": n,
             "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    code = "import sys; sys.argv = ['effscope']; from effscope.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **asked}
    )
    assert "--limit-train" in done.stdout and "--limit-val" in done.stdout


COMMANDS = ["", *app.commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_at_80_columns_cuts_no_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert run(monkeypatch, *command.split(), "-h") == 0
    shown = capsys.readouterr().out
    assert run(monkeypatch, *command.split(), "--help") == 0
    assert capsys.readouterr().out == shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    params = app.commands[command].params if command else app.params
    options = [
        opt for param in params for opt in param.opts if opt.startswith("--") and not getattr(param, "hidden", 0)
    ]
    listed = re.findall(r"--[a-z-]+", shown)
    assert not set(options) - set(listed)
    assert "completion  " not in shown


def test_help_of_trainings_states_the_defaults_of_the_tables() -> None:
    def told(command: str, name: str) -> str:
        return next(str(param.help) for param in app.commands[command].params if param.name == name)

    shapes, own = PROXIES["builtin"], PROXIES["data"]
    for command, name, field in (
        ("train", "imgsz", "imgsz"), ("train", "epochs", "base_epochs"), ("train", "batch", "batch"),
        ("search", "imgsz", "imgsz"), ("search", "epochs", "epochs"), ("search", "base_epochs", "base_epochs"),
    ):  # fmt: skip
        numbers = set(re.findall(r"\d+", told(command, name)))
        assert {str(getattr(shapes, field)), str(getattr(own, field))} <= numbers, (command, name)
    assert "0.01" in told("search", "margin") and "0.05" in told("search", "margin")
    assert "640" in told("eval", "imgsz")


@pytest.mark.parametrize("words", ["train yolov8n", "search"])
def test_without_data_the_first_line_says_which_are_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    from effscope import api

    def speak(*_: object, say: object, **__: object) -> None:
        say("plan: a training")  # type: ignore[operator]
        say("more")  # type: ignore[operator]
        raise KeyboardInterrupt

    monkeypatch.setattr(api, words.split(maxsplit=1)[0], speak)
    assert run(monkeypatch, *words.split()) == 130
    first, *others = capsys.readouterr().err.splitlines()
    assert "builtin:shapes" in first and "--data data.yaml" in first
    assert others[:2] == ["plan: a training", "more"]
    assert run(monkeypatch, *words.split(), "--data", "builtin:shapes") == 130
    assert capsys.readouterr().err.startswith("plan: a training")
