"""Our rules for other counters against the tools themselves, and the terms of every difference."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module as import_by_name
from pathlib import Path
from pkgutil import iter_modules

import pytest
import torch
from support.counting_tools import differences
from support.golden_files import golden
from support.peers_env import ask_for
from torch import nn

from effscope import other_counters
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, outline
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.models.open import open_model
from effscope.models.opened import TracedModel
from effscope.nn.build import build, view
from effscope.other_counters.compare import counters
from effscope.other_counters.run import crosscheck
from effscope.other_counters.tools import COUNTERS, TOOLS
from effscope.results import CountersResult

ASKED = ("yolov8n", "yolov8s", "yolov10n")
FAMILIES = (
    "yolov8n-p2",
    "yolov8n-ghost",
    "yolov9t",
    "yolov9c",
    "yolo11n",
    "yolo12n",
    "yolov6n",
    "yolov3-tiny",
    "yolox-nano",
)
BACKBONES = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_b_16")
SMALL = 64


def counters_of(name: str, imgsz: int, *names: str) -> CountersResult:
    return counters(expand(layout(name)), outline(layout(name)), imgsz, names)


@pytest.mark.parametrize("name", [*ASKED, *FAMILIES])
def test_detectors_against_the_tools(name: str) -> None:
    network = view(build(expand(layout(name))), "decoded")
    found = crosscheck(counters_of(name, SMALL), network)
    assert differences(found) == {}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_against_the_tools(name: str) -> None:
    opened = open_model(f"torchvision:{name}", 224 if name == "vit_b_16" else SMALL)
    assert isinstance(opened, TracedModel)
    found = crosscheck(counters(opened.graph, opened.outline, opened.imgsz), opened.module)
    assert differences(found) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if "rtdetr" not in name])
def test_the_zoo_against_the_tools(name: str) -> None:
    network = build(expand(layout(name)))
    network = view(network, "decoded") if "decoded" in network.spec.views else network
    assert differences(crosscheck(counters_of(name, 128), network)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ASKED, *(f"torchvision:{name}" for name in BACKBONES)])
def test_models_at_their_own_size_against_the_tools(name: str) -> None:
    opened = open_model(name)
    module = opened.module if isinstance(opened, TracedModel) else view(opened.network(), "decoded")
    found = crosscheck(counters(opened.graph, opened.outline, opened.imgsz or 640), module)
    assert differences(found) == {}


def test_against_ultralytics_info(tmp_path: Path) -> None:
    names = ["yolov8n", "yolov8s", "yolov10n", "yolov10s", "yolov9c", "yolo11n", "yolo12n", "yolov5n"]
    (tmp_path / "question.json").write_text(json.dumps(names))
    ask_for("flops", tmp_path)
    answers = json.loads((tmp_path / "answer.json").read_text())
    for name in names:
        row = counters_of(name, 640, "ultralytics").rows[0]
        assert row.count == answers[name], name


@pytest.mark.parametrize("name", ZOO)
def test_terms_add_up_to_the_difference(name: str) -> None:
    result = counters_of(name, 128)
    assert [row.counter for row in result.rows] == list(COUNTERS)
    for row in result.rows:
        terms = [term for term in result.terms if term.counter == row.counter]
        assert row.ours + sum(term.difference for term in terms) == row.count
        assert row.ours == {"MACs": 1, "FLOPs": 2}[row.unit] * result.macs
        assert all(term.difference and term.calls and term.why and term.operation for term in terms)
        reasons = [(term.operation, term.why) for term in terms]
        assert len(set(reasons)) == len(reasons)


def test_published_flops() -> None:
    rows = [row for row in golden("yolo_published.csv") if row["model"] in ZOO and row["flops_g"]]
    assert len(rows) > 12
    for row in rows:
        count = counters_of(row["model"], 640, "paper").rows[0].count
        assert count / 1e9 == pytest.approx(float(row["flops_g"]), rel=0.02), row["model"]


def test_every_counter_is_in_the_table() -> None:
    """A new counter is one module with a COUNTER, and one line of COUNTERS under the name of the module."""
    names = [found.name for found in iter_modules(other_counters.__path__, "effscope.other_counters.")]
    modules = {name.rpartition(".")[2]: import_by_name(name) for name in names}
    assert {name: module.COUNTER for name, module in modules.items() if hasattr(module, "COUNTER")} == COUNTERS


def test_counting_needs_no_torch() -> None:
    code = (
        "import sys; from effscope import api; api.counters('yolov10n', 64); "
        "assert 'effscope.other_counters.torch' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_counters_are_refused() -> None:
    with pytest.raises(EffscopeError, match=r"unknown `counter` 'fvcor'.*fvcore"):
        counters_of("yolov8n", 64, "fvcor")


def test_papers_count_detectors_and_backbones_differently() -> None:
    assert counters_of("rtdetr-l", 64, "paper").rows[0].unit == "FLOPs"
    opened = open_model("torchvision:resnet18", SMALL)
    (row,) = counters(opened.graph, opened.outline, SMALL, ["paper"]).rows
    assert (row.unit, row.count) == ("MACs", row.ours)


def test_uncounted_operations_are_listed() -> None:
    assert counters_of("rtdetr-l", 64).uncounted_ops
    assert not counters_of("yolov8n", 64).uncounted_ops


def test_a_tool_that_fails_gives_its_reason_in_one_line() -> None:

    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no\nmore")

    found = crosscheck(counters_of("yolov8n", 64), Fails())
    assert [row.measured for row in found.rows] == [None] * 5
    assert [row.version.partition(" ")[2] for row in found.rows if row.counter in TOOLS] == ["fails: no"] * 3


@pytest.mark.parametrize(
    ("names", "missing"), [((), "needs fvcore and thop,"), (("thop",), "needs thop,"), (("fvcore",), "needs fvcore,")]
)
def test_tools_that_are_asked_for_and_missing_are_an_error_before_anything_is_counted(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], missing: str
) -> None:
    """fvcore is not there; a module thop is, but of another package."""
    from effscope.api import counters as of_model
    from effscope.other_counters import compare
    from effscope.other_counters import tools as module

    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "fvcore" else True)
    monkeypatch.setattr(module, "version", lambda name: "none" if name == "thop" else "1")
    monkeypatch.setattr(compare, "node_costs", lambda *_: pytest.fail("it has counted"))
    with pytest.raises(EffscopeError, match=missing) as error:
        of_model("yolov8n", counter=names[0] if names else None, check=True)
    said = str(error.value)
    assert said.endswith('pip install "effscope[crosscheck]"; or check one that is installed, with `counter` torch')


def test_a_tool_that_is_there_is_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from effscope.api import counters as of_model
    from effscope.other_counters import tools as module

    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "fvcore" else True)
    (row,) = of_model("yolov8n", SMALL, "torch", check=True).rows
    assert row.measured == row.count > 0
    network = view(build(expand(layout("yolov8n"))), "decoded")
    with pytest.raises(EffscopeError, match="paper cannot run on a module"):
        crosscheck(counters_of("yolov8n", SMALL, "paper"), network)
