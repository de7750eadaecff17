"""Named layers and their forms, against published formulas and built modules; formulas against numbers."""

from __future__ import annotations

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import run
from torch.utils.flop_counter import FlopCounterMode

from effscope import api
from effscope.config import LayerCostConfig
from effscope.costing.layer_cost import count_form, graph_of, layer_cost
from effscope.costing.layer_forms import LAYERS, LayerForm, NamedLayer, conv_layer
from effscope.errors import EffscopeError
from effscope.nn.build import build
from effscope.results import Alternative

EVERY: dict[str, tuple[NamedLayer, LayerForm]] = {
    f"{name}/{form.name}": (layer, form)
    for name, layer in {"conv3x3": conv_layer(3), "conv1x1": conv_layer(1), **LAYERS}.items()
    for form in layer.forms
}
WIDEST = max(layer.divides for layer in LAYERS.values())


def sizes(layer: NamedLayer, form: LayerForm, times: int) -> tuple[int, int, int]:
    """Input channels, output channels and a stride that the form can have."""
    c_out = times * max(layer.divides, form.divides)
    return (7 * times if layer.widens else c_out), c_out, (form.strides or ((2,) if layer.widens else (1,)))[0]


@pytest.mark.parametrize("name", EVERY)
def test_numbers_equal_those_of_the_built_module(name: str) -> None:
    """Parameters as in the torch module; MACs as torch's FlopCounterMode counts them."""
    layer, form = EVERY[name]
    c_in, c_out, stride = sizes(layer, form, 2)
    network = build(graph_of(form, c_in, c_out, stride)).eval()
    counts, params = count_form(form, c_in, c_out, stride, 16)
    assert sum(p.numel() for p in network.parameters()) == params
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = network(torch.rand(1, c_in, 16, 16))["features"][0]
    assert counter.get_total_flops() == 2 * counts.macs
    assert out.shape[1] in (c_out, 80)  # class towers have 80 output channels
    assert counts.elements_out >= out.numel()


@pytest.mark.parametrize("name", EVERY)
def test_formulas_give_the_numbers_at_any_size(name: str) -> None:
    layer, form = EVERY[name]
    label = name.split("/", maxsplit=1)[0]
    step = max(layer.divides, form.divides)
    stride = sizes(layer, form, 1)[2]
    shown = layer_cost(
        LayerCostConfig(label, step, step if layer.widens else 0, stride, 4 * stride, symbolic=True)
    ).alternatives
    row = next(r for r in shown if r.name == form.name)
    symbols = {s: sympy.Symbol(s) for s in ("c", "c1", "c2", "h")}
    params, macs = (sympy.sympify(text, symbols) for text in (row.formula_params, row.formula_macs))

    @settings(deadline=None, max_examples=12)
    @given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 12))
    def check(c_in: int, times: int, h: int) -> None:
        c_out = times * step
        c_in = c_in if layer.widens else c_out
        h *= form.window
        counts, exact = count_form(form, c_in, c_out, stride, stride * h)
        values = {symbols["c"]: c_out, symbols["c1"]: c_in, symbols["c2"]: c_out, symbols["h"]: h}
        assert params.subs(values) == exact
        assert macs.subs(values) == counts.macs

    check()


def named(layer: str, c: int, **settings: int) -> dict[str, Alternative]:
    return {row.name: row for row in api.layer_cost(layer, c, **settings).alternatives}  # type: ignore[arg-type]


def test_window_attention_is_linear_in_the_positions() -> None:
    """docs/background.md, "Cost laws": O(HW * M^2 * d); dense attention is O((HW)^2 * d)."""
    found = {size: named("window-attention", 256, size=size)["window attention"] for size in (16, 32, 20)}
    pointwise = 4 * 256 * 256
    for size, sides in ((16, 16), (32, 32), (20, 24)):  # 20 is padded to three windows of 8
        assert found[size].macs == pointwise * size**2 + 2 * sides**2 * 64 * 256
    assert named("attention", 256, size=16)["attention"].macs > found[16].macs


@pytest.mark.parametrize("c", [16, 64, 256])
def test_blocks_by_the_published_formulas(c: int) -> None:
    """YOLOv10 (arXiv 2405.14458), YOLOv8, MobileNetV2 (arXiv 1801.04381), SE (arXiv 1709.01507)."""
    rows = named("cib", c)
    assert rows["bottleneck"].params == 18 * c**2 + 4 * c
    assert rows["cib"].params == 4 * c**2 + 50 * c
    assert rows["cib, large kernel"].params == 4 * c**2 + 152 * c
    assert rows["inverted residual"].params == 12 * c**2 + 54 * c + 2 * (6 * c + 6 * c + c)
    assert named("se", c)["se"].params == 2 * c**2 // 4 + c // 4 + c
    assert named("depthwise", c)["depthwise"].params == 9 * c
    assert rows["bottleneck"].macs == 18 * c**2 * 80**2
    assert rows["cib"].macs == (4 * c**2 + 36 * c) * 80**2  # 9c + 2c^2 + 18c + 2c^2 + 9c


@pytest.mark.parametrize("c", [16, 96])
def test_the_convnext_block_equals_torchvisions(c: int) -> None:
    from torchvision.models.convnext import CNBlock

    block = CNBlock(c, 1e-6, 0.0).eval()
    row = named("convnext", c, size=14)["convnext"]
    assert sum(p.numel() for p in block.parameters()) == row.params == 8 * c**2 + 58 * c
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.rand(1, c, 14, 14))
    assert counter.get_total_flops() == 2 * row.macs


def test_the_class_heads_of_yolov8s() -> None:
    """YOLOv8-S at 640 px: 5.95 G FLOPs (arXiv 2405.14458). The level of 128 channels is counted by hand."""
    rows = named("class-head", 128)
    assert rows["class-head"].macs == (2 * 9 * 128 * 128 + 128 * 80) * 80**2
    assert rows["light-head"].macs == (2 * (9 * 128 + 128 * 128) + 128 * 80) * 80**2
    levels = sum((9 * c * 128 + 9 * 128 * 128 + 128 * 80) * side**2 for c, side in ((128, 80), (256, 40), (512, 20)))
    assert 2 * levels == pytest.approx(5.95e9, rel=0.005)


@pytest.mark.parametrize("layer", [*LAYERS, "conv3x3"])
def test_every_layer_is_compared_with_the_standard_form(layer: str) -> None:
    result = api.layer_cost(layer, WIDEST)
    assert result.alternatives[0].ratio == 1.0
    for row in result.alternatives:
        assert row.ratio == pytest.approx(result.alternatives[0].macs / row.macs)
        assert row.bytes >= row.activation_bytes > 0
        assert row.intensity == pytest.approx(row.flops / row.bytes)
    assert result.scope


def test_depthwise_forms_are_memory_bound() -> None:
    """FLOPs are not time: the forms that save most MACs have the fewest FLOPs per byte."""
    rows = named("conv3x3", 256)
    assert rows["depthwise-separable (dw, pw)"].intensity < rows["standard"].intensity / 5
    assert named("cib", 256)["cib"].intensity < named("cib", 256)["bottleneck"].intensity / 5


def test_forms_that_do_not_fit_are_left_out() -> None:
    assert "ghost (half, dw 5x5)" not in named("conv3x3", 8, cout=9)
    assert "space to depth, pw" not in named("conv3x3", 8, stride=1)
    assert "space to depth, pw" not in named("conv3x3", 8, size=81)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "c2f", "cin": 6}, "multiples of 4, got 6"),
        ({"layer": "psa", "cin": 64}, "multiples of 128"),
        ({"layer": "cib", "cin": 8, "cout": 16}, "keeps its channels"),
        ({"layer": "patch-embed", "cin": 3, "cout": 96, "size": 81}, "must be a multiple of 4, got 81"),
        ({"layer": "c2g"}, "unknown layer 'c2g': write convKxK.*c2f, c3"),
        ({"layer": "cib", "cin": 0}, "`cin` must be at least 1"),
    ],
)
def test_bad_layers_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        api.layer_cost(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("layer", ["c2f", "patch-embed", "scdown"])
def test_the_command_prints_formulas(
    layer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "cost", "--layer", layer, "--cin", "64", "--symbolic") == 0
    shown = capsys.readouterr().out
    assert "formulas: c (or c1 and c2)" in shown and "FLOP/B" in shown
