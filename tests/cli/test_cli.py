"""The command line: which API call a line of words makes, its exit codes, its errors, and what it does not import."""

from __future__ import annotations

import gc
import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.command_line import run

import effscope
from effscope import __main__ as entry
from effscope import api
from effscope.cli.app import app
from effscope.config import PROXIES, EvalConfig, LatencyConfig, LayerCostConfig, RankConfig, SearchConfig, TrainConfig

SLOW = ("torch", "numpy", "pandas", "matplotlib", "sympy", "rich")
PRINTING = {"json", "csv", "out", "quiet", "details", "help", "models", "by", "plots", "explain"}


SIGNATURES = {name: inspect.signature(getattr(api, name)) for name in effscope.COMMANDS}


class Called(Exception):
    """Raised by the stand-in for an API function, with what it was called with."""

    def __init__(self, name: str, arguments: dict[str, Any]):
        super().__init__(name)
        self.name, self.arguments = name, arguments


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """API functions that only tell how they were called."""
    for name in effscope.COMMANDS:
        signature = inspect.signature(getattr(api, name))

        def tell(*args: Any, _name: str = name, _signature: inspect.Signature = signature, **options: Any) -> None:
            bound = _signature.bind(*args, **options)
            bound.apply_defaults()
            settings = bound.arguments.pop("settings", {})
            raise Called(_name, {**bound.arguments, **settings})

        monkeypatch.setattr(api, name, tell)


TRAINING = {"data": "builtin:shapes", "imgsz": None, "epochs": None, "batch": None, "seed": 0, "device": "auto",
            "limit_train": None, "limit_val": None, "weights": None, "out": None, "recipe": None}  # fmt: skip
ONLY_TRAIN = {"freeze": 0, "unfreeze_epochs": 0, "eval_every": None, "track": False}
TIMING = {"imgsz": None, "inputs": None, "device": "auto", "threads": None, "dtype": "float32", "runtime": "torch",
          "rounds": 15, "objects": (0, 10, 100, 300), "predict": None, "predict_dtype": None, "fresh": False,
          "seed": 0}  # fmt: skip
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("rank yolov8n", "rank",
     {"model": "yolov8n", "at": "stage", "threshold": "0.5", "fold_bn": True, "activations": None, "limit": 64,
      "imgsz": None, "centred": True, "inputs": None}),
    ("rank m.pt --at block --threshold energy:.9 --raw --activations d --uncentred --limit 5 --imgsz 96", "rank",
     {"model": "m.pt", "at": "block", "threshold": "energy:.9", "fold_bn": False, "activations": "d", "limit": 5,
      "imgsz": "96", "centred": False, "inputs": None}),
    ("rank a.pt b.pt", "ranks",
     {"models": ["a.pt", "b.pt"], "at": "stage", "threshold": "0.5", "fold_bn": True, "activations": None, "limit": 64,
      "imgsz": None, "centred": True}),
    ("cost yolov8s", "cost",
     {"model": "yolov8s", "imgsz": None, "dtype": "float32", "device": None, "strict": False, "inputs": None}),
    ("cost yolov8s --dtype float16 --device t4 --strict", "cost",
     {"model": "yolov8s", "imgsz": None, "dtype": "float16", "device": "t4", "strict": True, "inputs": None}),
    ("cost yolov8s --as fvcore", "counters",
     {"model": "yolov8s", "imgsz": None, "counter": "fvcore", "check": False, "inputs": None}),
    ("cost m.pt --explain --check --imgsz 320", "counters",
     {"model": "m.pt", "imgsz": "320", "counter": None, "check": True, "inputs": None}),
    ("latency yolov8n", "latency", {"models": ["yolov8n"], **TIMING}),
    ("latency a.pt b.pt --imgsz 320 --device cpu --threads 1 --dtype bfloat16 --runtime onnx --rounds 3 --objects 1,2 "
     "--predict t4 --predict-dtype int8 --fresh --seed 4", "latency",
     {"models": ["a.pt", "b.pt"], "imgsz": "320", "inputs": None, "device": "cpu", "threads": 1,
      "dtype": "bfloat16", "runtime": "onnx", "rounds": 3, "objects": (1, 2), "predict": "t4",
      "predict_dtype": "int8", "fresh": True, "seed": 4}),
    ("devices", "devices", {}),
    ("export best.pt --to yaml,onnx --out o --imgsz 320", "export",
     {"model": "best.pt", "to": "yaml,onnx", "out": Path("o"), "imgsz": 320, "library": False, "moves": None,
      "data": None}),
    ("export best.pt --library --moves slim --out o --data d", "export",
     {"model": "best.pt", "to": None, "out": Path("o"), "imgsz": None, "library": True, "moves": "slim",
      "data": "d"}),
    ("cost yolov8s --imgsz 320 --by op", "cost",
     {"model": "yolov8s", "imgsz": "320", "dtype": "float32", "device": None, "strict": False, "inputs": None}),
    ("cost --layer conv3x3", "layer_cost",
     {"layer": "conv3x3", "cin": 256, "cout": 0, "stride": 2, "size": 80, "symbolic": False}),
    ("cost --layer conv5x5 --cin 8 --cout 9 --stride 1 --size 7 --symbolic", "layer_cost",
     {"layer": "conv5x5", "cin": 8, "cout": 9, "stride": 1, "size": 7, "symbolic": True}),
    ("train yolov8n", "train", {**TRAINING, **ONLY_TRAIN, "model": "yolov8n"}),
    ("train a.yaml --data d --weights w --imgsz 64 --epochs 2 --batch 3 --seed 4 --device cpu --limit-train 5 "
     "--limit-val 6 --out o --recipe quick,lr=.1 --freeze 3 --unfreeze-epochs 2 --eval-every 0 --track", "train",
     {"model": "a.yaml", "data": "d", "weights": "w", "imgsz": 64, "epochs": 2, "batch": 3, "seed": 4,
      "device": "cpu", "limit_train": 5, "limit_val": 6, "out": Path("o"), "recipe": "quick,lr=.1", "freeze": 3,
      "unfreeze_epochs": 2, "eval_every": 0, "track": True}),
    ("train a.yaml --pretrained w", "train", {**TRAINING, **ONLY_TRAIN, "model": "a.yaml", "weights": "w"}),
    ("eval m.pt --data d", "eval",
     {"model": "m.pt", "data": "d", "imgsz": None, "batch": 16, "device": "auto", "split": "val", "limit_val": None,
      "out": None, "errors": False, "convention": "coco", "runtime": None}),
    ("eval m.pt --data d --imgsz 64 --batch 2 --device cpu --split test --limit-val 3 --out o --errors "
     "--as ultralytics --runtime onnx", "eval",
     {"model": "m.pt", "data": "d", "imgsz": 64, "batch": 2, "device": "cpu", "split": "test", "limit_val": 3,
      "out": Path("o"), "errors": True, "convention": "ultralytics", "runtime": "onnx"}),
    ("compare a.pt b.pt,c.pt --data d --imgsz 64 --batch 2 --device cpu --split test --limit-val 3 --margin .02 "
     "--out o", "compare",
     {"a": "a.pt", "b": "b.pt,c.pt", "data": "d", "imgsz": 64, "batch": 2, "device": "cpu", "split": "test",
      "limit_val": 3, "margin": 0.02, "out": Path("o")}),
    ("search", "search",
     {**TRAINING, "base": "yolov8n", "moves": None, "order": "rank", "target": None, "library_only": False,
      "latency_table": None, "labels": "given", "head": None, "rule": "noninferior", "margin": None, "runs": 5,
      "against": None, "finish_epochs": 0, "budget": None, "runtime": None, "base_epochs": None, "proxy_recipe": None,
      "learned_ap": 0.2, "keep_work": False}),
    ("search best.pt --data d", "search",
     {**TRAINING, "base": "best.pt", "data": "d", "moves": None, "order": "rank", "target": None, "library_only": False,
      "latency_table": None, "labels": "given", "head": None, "rule": "noninferior", "margin": None, "runs": 5,
      "against": None, "finish_epochs": 0, "budget": None, "runtime": None, "base_epochs": None, "proxy_recipe": None,
      "learned_ap": 0.2, "keep_work": False}),
    ("search --base yolov8s --weights w --moves cib-lk,slim --order damage --target params=-30% "
     "--target latency=-20% --library-only --latency-table t.csv --labels none --head keep "
     "--rule paper --margin .02 --runs 3 --against o.pt --finish-epochs 9 "
     "--budget 2h --runtime torch --base-epochs 7 --epochs 2 --seed 1 --recipe paper --proxy-recipe quick,lr=.1 "
     "--learned-ap .1 --keep-work",
     "search",
     {**TRAINING, "base": "yolov8s", "weights": "w", "moves": "cib-lk,slim", "order": "damage",
      "target": ["params=-30%", "latency=-20%"], "library_only": True, "latency_table": "t.csv",
      "labels": "none", "head": "keep", "against": "o.pt", "finish_epochs": 9,
      "rule": "paper",
      "margin": 0.02, "runs": 3, "budget": "2h", "runtime": "torch", "base_epochs": 7, "epochs": 2, "seed": 1,
      "recipe": "paper", "proxy_recipe": "quick,lr=.1", "learned_ap": 0.1, "keep_work": True}),
    ("cost --scale yolov8n --phi 1..3", "scaled_cost",
     {"scale": "yolov8n", "phi": "1..3", "depth": 1.2, "width": 1.1, "resolution": 1.15, "imgsz": None}),
    ("diff yolov8s yolov10s --imgsz 320", "diff", {"a": "yolov8s", "b": "yolov10s", "imgsz": "320"}),
    ("zoo", "zoo", {"pattern": "", "backbones": False}),
    ("zoo v10 --backbones", "zoo", {"pattern": "v10", "backbones": True}),
]  # fmt: skip


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(("line", "name", "arguments"), CALLS, ids=[c[0][:40] for c in CALLS])
def test_words_become_an_api_call(
    monkeypatch: pytest.MonkeyPatch, line: str, name: str, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr(sys, "argv", ["effscope", *line.split()])
    with pytest.raises(Called) as called:
        entry.main()
    found = {key: value for key, value in called.value.arguments.items() if key not in ("progress", "say")}
    assert (called.value.name, {key: found.get(key) for key in arguments}) == (name, arguments)
    others = {key: value for key, value in found.items() if key not in arguments}
    assert others == {key: SIGNATURES[name].parameters[key].default for key in others}


def commands() -> dict[str, dict[str, Any]]:
    """Command -> its parameters' defaults."""
    return {name: {p.name: p.default for p in command.params} for name, command in app.commands.items()}


def test_every_command_is_walked_and_offered_by_the_package() -> None:
    assert {line.split()[0] for line, _, _ in CALLS} == set(commands())
    assert {name for _, name, _ in CALLS} == set(effscope.COMMANDS) == set(api.__all__)
    assert set(effscope.__all__) == {*effscope.COMMANDS, "EffscopeError", "load_result"}
    assert set(effscope.COMMANDS) <= set(dir(effscope))
    with pytest.raises(AttributeError, match="nothing"):
        effscope.nothing  # noqa: B018


@pytest.mark.parametrize("name", effscope.COMMANDS)
def test_the_package_offers_the_function_whatever_was_imported_before(name: str) -> None:
    import effscope.layouts.zoo.catalog

    assert getattr(effscope, name) is getattr(api, name)


CONFIGS = {
    "rank": RankConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
    "search": SearchConfig,
    "cost": LayerCostConfig,
    "latency": LatencyConfig,
}


OF_COST: dict[tuple[str, str], Any] = {
    **{("cost", option): api.cost for option in ("model", "imgsz", "dtype", "device", "strict")},
    **{("cost", option): api.counters for option in ("counter", "check")},
    **{("cost", option): api.scaled_cost for option in ("scale", "phi")},
}
"""`effscope cost` asks one of four functions; the others of its options are those of `layer_cost`."""


@pytest.mark.parametrize("name", CONFIGS)
def test_options_arguments_and_config_fields_agree(name: str) -> None:
    """One name and one default; what depends on the data (PROXIES) is None on the command line."""
    config = {f.name: f.default for f in fields(CONFIGS[name])}
    options = {k: v for k, v in commands()[name].items() if k not in PRINTING}
    function = api.layer_cost if name == "cost" else getattr(api, name)
    arguments = inspect.signature(function).parameters
    sized = {f.name for f in fields(next(iter(PROXIES.values())))} | {"imgsz"}
    for option, default in options.items():
        if (name, option) in OF_COST:
            function = OF_COST[name, option]
            given = inspect.signature(function).parameters[option].default
            assert given in (default, inspect.Parameter.empty), option
            continue
        if (name, option) == ("search", "model"):  # the same as --base
            continue
        assert option in arguments or option in config, option
        if option in arguments and arguments[option].default is not inspect.Parameter.empty:
            stated = default is None and option in ("base", "data")  # the help states the default
            spelled = {str(default), f"({str(default).replace(',', ', ')})"}  # a tuple is written with commas
            assert str(arguments[option].default) in spelled or option == "layer" or stated, option
        if option in config and option not in sized and option != "layer" and not isinstance(default, type(None)):
            assert str(config[option]) in {str(default), f"({str(default).replace(',', ', ')})"}, option


@pytest.mark.parametrize("words", ["cost yolov8n", "cost --layer conv3x3 --symbolic", "zoo", "rank yolov8n"])
def test_json_on_stdout_is_only_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str
) -> None:
    options = ["--out", str(tmp_path / "out")] if words != "zoo" else []
    assert run(monkeypatch, *words.split(), "--json", "-", *options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (
        run(monkeypatch, *words.split(), "--json", str(tmp_path / "a.json"), "--csv", str(tmp_path / "a.csv"), "-q")
        == 0
    )
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
    written = json.loads((tmp_path / "a.json").read_text())
    for data in (printed, written):
        data.pop("origin", None)
    assert printed == written
    assert len((tmp_path / "a.csv").read_text().splitlines()) > 1


def test_several_models_are_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    csv = tmp_path / "a.csv"
    assert run(monkeypatch, "rank", "yolov8n", "yolov8n", "--json", "-", "--csv", str(csv)) == 0
    assert [r["model"] for r in json.loads(capsys.readouterr().out)] == ["yolov8n", "yolov8n (2)"]
    assert len(csv.read_text().splitlines()) == 1 + 2 * 8


def test_commands_print_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "cost", "yolov8n", "--by", "stage") == 0
    assert "3,157,200" in capsys.readouterr().out
    assert run(monkeypatch, "--help") == 0
    listed = capsys.readouterr().out
    assert all(f" {name} " in listed for name in commands())


def imported(words: list[str], cwd: Path, names: tuple[str, ...] = SLOW) -> SimpleNamespace:
    """Which of the named modules a command line imports in a fresh process, and its exit code."""
    run_it = f"import sys; sys.argv = {['effscope', *words]!r}; from effscope.__main__ import main\n"
    code = "import effscope.cli.app\n" if not words else run_it + "try: main()\nexcept SystemExit as e: code = e.code\n"
    code = "code = 0\n" + code + f"import sys; print([m for m in {names!r} if m in sys.modules], code, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True)
    return SimpleNamespace(said=done.stderr.splitlines()[-1], out=done.stdout)


@pytest.mark.parametrize(
    "line",
    ["", "--help", "rank --help", "search --help", "cost yolov8n -q", "cost m.yaml --json -",
     "cost --layer conv3x3 --csv a.csv -q", "cost --layer psa -q",
     "cost --scale yolov8n -q", "diff yolov8n yolov10n -q", "zoo -q", "cost nowhere.pt"],
)  # fmt: skip
def test_nothing_slow_is_imported(line: str, tmp_path: Path) -> None:
    from effscope.layouts.ultralytics_yaml.layout_yaml import to_yaml
    from effscope.layouts.zoo.catalog import layout

    (tmp_path / "m.yaml").write_text(to_yaml(layout("yolov8n")))
    done = imported(line.split(), tmp_path)
    allowed = "['rich']" if "help" in line else "[]"
    assert done.said.startswith(("[] ", allowed)), done.said
    assert done.said.endswith(" 2" if "nowhere" in line else " 0")


def test_a_table_of_costs_needs_nothing_slow_either(tmp_path: Path) -> None:
    assert imported(["cost", "yolov8n"], tmp_path).said in ("['rich'] 0", "[] 0")
    assert imported(["cost", "yolov8n", "--out", "o"], tmp_path).said in ("['rich'] 0", "[] 0")


OTHERS = ("effscope.api.training", "effscope.cli.training", "effscope.results.ranking", "effscope.results.detection",
          "effscope.reporting.pages.rank", "effscope.layouts.ultralytics_yaml.layout_yaml", "yaml")  # fmt: skip
MODELS = ("effscope.models.open", "effscope.layouts.zoo.catalog")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("cost yolov8n --json -", OTHERS),
        ("cost --layer conv3x3 --json -", OTHERS + MODELS),
        ("diff yolov8n yolov10n --json -", OTHERS),
        ("cost --help", OTHERS + MODELS),
        ("--help", tuple(f"effscope.api.{group}" for group in ("counting", "ranking", "training")) + MODELS),
    ],
)
def test_a_command_imports_nothing_of_the_others(line: str, names: tuple[str, ...], tmp_path: Path) -> None:
    assert imported(line.split(), tmp_path, names).said == "[] 0"


@pytest.mark.parametrize("words", ["cost yolov8n -q", "cost nowhere.pt", "fly", "--help"])
def test_garbage_is_collected_afterwards(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    run(monkeypatch, *words.split())
    assert gc.isenabled()


def test_other_counters_are_shown_explained_and_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "cost", "yolov10n", "--as", "thop", "--explain", "--imgsz", "64") == 0
    shown = capsys.readouterr().out
    assert "as thop counts" in shown
    assert "4 per value of a norm" in shown
    out = tmp_path / "out"
    words = ("cost", "yolov8n", "--check", "--imgsz", "64", "--json", "-", "--out", str(out))
    assert run(monkeypatch, *words) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["counter"]: row["measured"] == row["count"] for row in rows if row["measured"] is not None} == {
        "fvcore": True, "thop": True, "torch": True,
    }  # fmt: skip
    assert {file.name for file in out.iterdir()} == {"counters.json", "counters.csv", "counters.md"}
    lines = (out / "counters.md").read_text().splitlines()
    assert {line.split("|")[1].strip() for line in lines if "not run" in line} == {"paper", "ultralytics"}


def test_a_difference_nobody_explains_is_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from effscope.other_counters.counter import Tool
    from effscope.other_counters.tools import TOOLS

    monkeypatch.setitem(TOOLS, "fvcore", Tool(lambda module, image: 7, "fvcore"))
    assert run(monkeypatch, "cost", "yolov8n", "--check", "--imgsz", "64", "-q") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: yolov8n: not explained: fvcore ")
    assert " counts 7, our rules for it " in said


def test_a_check_in_which_a_tool_fails_is_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "cost", "rtdetr-l", "--check", "--imgsz", "64", "-q") == 1
    assert capsys.readouterr().err.startswith("error: rtdetr-l: not checked: fvcore ")
    assert run(monkeypatch, "cost", "yolov8n", "--explain", "--csv", str(tmp_path / "a.csv"), "-q") == 0
    assert (tmp_path / "a.csv").read_text().startswith("counter,operation,why,calls,difference\n")


def test_what_is_not_counted_is_a_no_where_that_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "cost", "rtdetr-l", "-q") == 0
    assert run(monkeypatch, "cost", "rtdetr-l", "--strict", "-q") == 1
    assert "not counted: " in capsys.readouterr().err
    assert run(monkeypatch, "cost", "yolov8n", "--strict", "-q") == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("cost yolov8n --as flopco", "unknown --as 'flopco': choose one of paper, fvcore"),
        ("cost yolov8n --dtype float8", "unknown --dtype 'float8': choose one of float32"),
        ("cost yolov8n --by forms", "unknown --by 'forms': choose one of layer, stage, op, form"),
        ("cost yolov8n --device t5", "unknown device 't5': choose one of NVIDIA T4"),
        ("cost yolov8n --device v100 --dtype int8", "unknown dtype for NVIDIA V100"),
        ("cost yolov8n --as fvcore --strict", "--strict has no effect on --as, --explain and --check"),
        ("cost yolov8n --cin 3", "--cin has no effect on the cost of a MODEL: use it with --layer"),
        ("cost --layer conv3x3 --dtype float16", "--dtype has no effect on --layer"),
        ("cost --scale yolov8n --explain", "--explain has no effect on --scale"),
        ("cost yolov8n --as paper --check", "paper cannot run on a module"),
        ("latency yolov8n --objects few", "--objects takes whole numbers"),
        ("latency yolov8n --objects=-1", "whole numbers"),
        ("latency yolov8n --rounds 0", "--rounds must be at least 1"),
        ("latency yolov8n --threads 0", "--threads must be at least 1"),
        ("latency yolov8n --threads 1000000", "this machine has"),
        ("latency yolov8n --runtime tensorrt", "unknown --runtime 'tensorrt': choose one of torch, onnx"),
        ("latency yolov8n --imgsz 100", "--imgsz"),
        ("latency nothing-of-the-kind", "is neither a file nor a built-in model"),
    ],
)
def test_wrong_settings_of_cost_and_latency(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    assert run(monkeypatch, *words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert says in said
    assert said.count("\n") == 1
