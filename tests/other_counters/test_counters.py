"""Other counting tools: our rules for them against the tools themselves, and the terms of every difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.golden_files import golden
from support.peers_env import ask_for
from torch import nn

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, outline
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.models.open import open_model
from effscope.models.opened import TracedModel
from effscope.nn.build import build, view
from effscope.other_counters.compare import counters
from effscope.other_counters.run import TOOLS, crosscheck
from effscope.other_counters.tools import COUNTERS
from effscope.results import CountersResult
from effscope.tracing.importer import import_module
from effscope.tracing.sources import is_fused

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


def of(name: str, imgsz: int) -> CountersResult:
    made = layout(name)
    return counters(expand(made), outline(made), imgsz)


def differences(result: CountersResult) -> dict[str, tuple[int | None, int]]:
    """Tools that say something else than our rules for them, all of them having been run."""
    ran = {row.counter: (row.measured, row.count) for row in result.rows if row.counter in TOOLS}
    assert list(ran) == list(TOOLS)
    return {name: pair for name, pair in ran.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("name", [*ASKED, *FAMILIES])
def test_detectors_as_the_tools_count_them(name: str) -> None:
    network = view(build(expand(layout(name))), "decoded")
    found = crosscheck(of(name, SMALL), network)
    assert differences(found) == {}


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_as_the_tools_count_them(name: str) -> None:
    opened = open_model(f"torchvision:{name}", 224 if name == "vit_b_16" else SMALL)
    assert isinstance(opened, TracedModel)
    found = crosscheck(counters(opened.graph, opened.outline, opened.imgsz), opened.module)
    assert differences(found) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ZOO if "rtdetr" not in name])
def test_the_zoo_as_the_tools_count_it(name: str) -> None:
    network = (
        view(build(expand(layout(name))), "decoded")
        if "decoded" in expand(layout(name)).views
        else build(expand(layout(name)))
    )
    assert differences(crosscheck(of(name, 128), network)) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ASKED, *(f"torchvision:{name}" for name in BACKBONES)])
def test_models_at_their_own_size_as_the_tools_count_them(name: str) -> None:
    opened = open_model(name)
    module = opened.module if isinstance(opened, TracedModel) else view(opened.network(), "decoded")
    found = crosscheck(counters(opened.graph, opened.outline, opened.imgsz or 640), module)
    assert differences(found) == {}


def test_ultralytics_own_info(tmp_path: Path) -> None:
    names = ["yolov8n", "yolov8s", "yolov10n", "yolov10s", "yolov9c", "yolo11n", "yolo12n", "yolov5n"]
    (tmp_path / "question.json").write_text(json.dumps(names))
    ask_for("flops", tmp_path)
    told = json.loads((tmp_path / "answer.json").read_text())
    for name in names:
        made = layout(name)
        row = counters(expand(made), outline(made), 640, ["ultralytics"]).rows[0]
        assert row.count == told[name], name


@pytest.mark.parametrize("name", ZOO)
def test_terms_add_up_to_the_difference(name: str) -> None:
    result = of(name, 128)
    assert [row.counter for row in result.rows] == list(COUNTERS)
    for row in result.rows:
        terms = [term for term in result.terms if term.counter == row.counter]
        assert row.ours + sum(term.difference for term in terms) == row.count
        assert row.ours == {"MACs": 1, "FLOPs": 2}[row.unit] * result.macs
        assert all(term.difference and term.calls and term.why and term.operation for term in terms)
        reasons = [(term.operation, term.why) for term in terms]
        assert len(set(reasons)) == len(reasons)


def test_papers_figures() -> None:
    for row in golden("yolo_published.csv"):
        if row["model"] in ZOO and row["flops_g"]:
            count = counters(expand(layout(row["model"])), outline(layout(row["model"])), 640, ["paper"]).rows[0].count
            assert count / 1e9 == pytest.approx(float(row["flops_g"]), rel=0.02), row["model"]


def shared(parents: int) -> nn.Module:
    """One convolution, held by several modules and called by each."""
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(*(nn.Sequential(conv, nn.ReLU()) for _ in range(parents)))


class Attends(nn.Module):
    """Attention of torch over the positions of a map, of itself or of others."""

    def __init__(self, crossed: bool, **options: bool) -> None:
        super().__init__()
        self.attention, self.crossed = nn.MultiheadAttention(4, 2, **options), crossed
        self.widen = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.widen(x).flatten(2).transpose(1, 2)
        others = tokens + 1 if self.crossed else tokens
        found: torch.Tensor = self.attention(tokens, others, others)[0]
        return found


class Over(nn.Module):
    """A module over the tokens of a map."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.inner(x.flatten(2).transpose(1, 2))
        return found[0] if isinstance(found, tuple) else found


class Steps(nn.Module):
    """Recurrent cells on the mean of a map."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(3, 4), nn.GRUCell(4, 5), nn.RNNCell(5, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.rnn(self.gru(self.lstm(x.mean((2, 3)))[0]))
        return found


class Derived(nn.Conv2d):
    """A convolution of another class."""


class Calls(nn.Module):
    """A function around weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight)


MODULES: dict[str, nn.Module] = {
    "shared by two": shared(2),
    "shared by three": shared(3),
    "called twice": nn.Sequential(*[nn.Conv2d(3, 3, 1)] * 2),
    "cells": Steps(),
    "padding in words": nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 5, 3, padding="valid")),
    "a class derived": nn.Sequential(Derived(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU()),
    "a function": Calls(),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 6, 3, groups=2)),
    "attention of itself": Attends(False, batch_first=True),
    "attention of others": Attends(True, batch_first=True),
    "attention, batch second": Attends(False),
    "an encoder layer": Over(nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)),
    "a fused encoder layer": nn.Sequential(
        nn.Conv2d(3, 4, 1), Over(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    ),
    "lstm": Over(nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)),
    "gru": Over(nn.GRU(3, 5, batch_first=True)),
    "rnn": Over(nn.RNN(3, 5, batch_first=True)),
    "resampling": nn.Sequential(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear")),
    "pooling": nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.MaxPool2d(2)),
    "a norm with a scale alone": nn.Sequential(nn.Conv2d(3, 4, 1), Over(nn.LayerNorm(4, bias=False))),
    "norms without statistics": nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3)),
    "pooling of rows": Over(nn.Sequential(nn.AvgPool1d(1), nn.AdaptiveAvgPool1d(1))),
    "frozen attention": Attends(False, batch_first=True).requires_grad_(False),
    "norms": nn.Sequential(nn.GroupNorm(3, 3), nn.InstanceNorm2d(3), nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.Softmax(1)),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_small_modules_as_the_tools_count_them(case: str) -> None:
    module = MODULES[case].eval()
    imported = import_module(module, (1, 3, 8, 8), case)
    found = crosscheck(counters(imported.graph, imported.outline, 8), module)
    assert differences(found) == {}


def test_a_tool_leaves_nothing_behind() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    module.train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    imported = import_module(module, (1, 3, 8, 8), "made")
    state = torch.get_rng_state()
    crosscheck(counters(imported.graph, imported.outline, 8), module)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert set(module.state_dict()) == set(before)
    assert module.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_tool_that_is_unknown_or_fails_is_said_in_one_line() -> None:
    with pytest.raises(EffscopeError, match=r"unknown `counter` 'fvcor'.*fvcore"):
        counters(expand(layout("yolov8n")), outline(layout("yolov8n")), 64, ["fvcor"])

    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no\nmore")

    assert counters(expand(layout("rtdetr-l")), outline(layout("rtdetr-l")), 64, ["paper"]).rows[0].unit == "FLOPs"
    assert counters(expand(layout("rtdetr-l")), outline(layout("rtdetr-l")), 64).uncounted_ops
    found = crosscheck(of("yolov8n", 64), Fails())
    assert [row.measured for row in found.rows] == [None] * 5
    assert [row.version.partition(" ")[2] for row in found.rows if row.counter in TOOLS] == ["fails: no"] * 3


def test_tools_that_are_not_there_are_said_not_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    from effscope.other_counters import run as module

    network = view(build(expand(layout("yolov8n"))), "decoded")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "fvcore" else True)
    monkeypatch.setattr(module, "version", lambda name: "none" if name == "thop" else "1")
    rows = {row.counter: row for row in crosscheck(of("yolov8n", SMALL), network).rows}
    assert rows["fvcore"].version == 'not installed: pip install "effscope[crosscheck]"'
    assert rows["thop"].version.startswith("the module thop is from another package")
    assert rows["fvcore"].measured is rows["thop"].measured is None
    assert rows["torch"].measured == rows["torch"].count
    with pytest.raises(EffscopeError, match="paper cannot run on a module"):
        crosscheck(counters(expand(layout("yolov8n")), outline(layout("yolov8n")), SMALL, ["paper"]), network)


@pytest.mark.parametrize(
    ("module", "fused"),
    [
        (nn.MultiheadAttention(4, 2, batch_first=True), True),
        (nn.MultiheadAttention(4, 2), False),
        (nn.MultiheadAttention(3, 1, batch_first=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, bias=False), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, add_zero_attn=True), False),
        (nn.MultiheadAttention(4, 2, batch_first=True, kdim=3, vdim=3), False),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), True),
        (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, activation=nn.functional.silu), False),
        (nn.Linear(4, 4), False),
    ],
)
def test_what_torch_fuses(module: nn.Module, fused: bool) -> None:
    """As FlopCounterMode sees it: nothing inside of what is fused."""
    from torch.utils.flop_counter import FlopCounterMode

    assert is_fused(module) == fused
    tokens = torch.rand(1, 6, module.embed_dim if isinstance(module, nn.MultiheadAttention) else 4)
    keys = torch.rand(1, 6, 3) if getattr(module, "kdim", tokens.shape[-1]) == 3 and tokens.shape[-1] == 4 else tokens
    given = (tokens, keys, keys) if isinstance(module, nn.MultiheadAttention) else (tokens,)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*given)
    assert (counter.get_total_flops() == 0) == fused
