"""Convolutions and their cheaper forms: published formulas, formulas against numbers, and refused input."""

from __future__ import annotations

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from effscope import api
from effscope.config import LayerCostConfig
from effscope.costing.layer_cost import layer_cost
from effscope.errors import EffscopeError
from effscope.results import Alternative

SEPARABLE, DECOUPLED = "depthwise-separable (dw, pw)", "decoupled (pw, dw)"


def forms(**settings: int) -> dict[str, Alternative]:
    return {row.name: row for row in layer_cost(LayerCostConfig(**settings)).alternatives}  # type: ignore[arg-type]


@given(st.integers(1, 600), st.integers(1, 100))
def test_downsampling_by_the_published_formulas(c: int, half: int) -> None:
    """docs/background.md, "Cost laws": C -> 2C at stride 2 on an input of H x W."""
    hw = (2 * half) ** 2
    found = forms(cin=c, size=2 * half)
    assert found["standard"].params == 18 * c**2
    assert found["standard"].macs == 9 * hw * c**2 // 2
    assert found[DECOUPLED].params == 2 * c**2 + 18 * c
    assert 2 * found[DECOUPLED].macs == 2 * (2 * hw * c**2) + 9 * hw * c
    assert 4 * found[SEPARABLE].macs == 2 * hw * c**2 + 9 * hw * c
    assert found[SEPARABLE].params == 9 * c + 2 * c**2


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 3, 5, 7]), st.integers(1, 60))
def test_separable_ratio_by_the_published_formula(c_in: int, c_out: int, k: int, size: int) -> None:
    rows = {r.name: r for r in layer_cost(LayerCostConfig(f"conv{k}x{k}", c_in, c_out, 1, size)).alternatives}
    assert rows[SEPARABLE].ratio == pytest.approx(c_out * k**2 / (k**2 + c_out))
    assert rows["standard"].ratio == 1.0
    assert rows["standard"].params == c_in * c_out * k**2
    assert rows["standard"].macs == c_in * c_out * k**2 * size**2
    assert all(row.flops == 2 * row.macs for row in rows.values())


def test_depthwise_separable_saves_8_7_times() -> None:
    assert forms(stride=1)[SEPARABLE].ratio == pytest.approx(8.7, abs=0.05)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("layer", ["conv1x1", "conv3x3", "conv5x5"])
def test_formulas_give_the_numbers(layer: str, stride: int) -> None:
    symbols = sympy.symbols("c1 c2 h", integer=True, positive=True)
    cases = [(7, 12, 9), (64, 128, 20), (3, 5, 1)]
    for c1, c2, h in cases:
        for size in range(stride * (h - 1) + 1, stride * h + 1):  # every input side that gives h, odd ones too
            result = layer_cost(LayerCostConfig(layer, c1, c2, stride, size, symbolic=True))
            for row in result.alternatives:
                values = dict(zip(symbols, (c1, c2, h), strict=True))
                names = {str(s): s for s in symbols}
                params, macs = (sympy.sympify(f, names).subs(values) for f in (row.formula_params, row.formula_macs))
                assert params == row.params
                if row.name != DECOUPLED or size == stride * h:  # its pointwise conv runs at the size of the input
                    assert macs == row.macs


def test_defaults_of_a_layer() -> None:
    """Stride 2, input side 80, and c_out = 2 c_in at stride 2, else c_in."""
    result = api.layer_cost("conv3x3", cin=256)
    assert (result.c_in, result.c_out, result.stride, result.size) == (256, 512, 2, 80)
    assert api.layer_cost("conv3x3", 64, stride=1).c_out == 64
    assert api.layer_cost("conv3x3", 64, stride=3).c_out == 64
    assert api.layer_cost("conv3x3", 64, 10).c_out == 10
    names = [row.name for row in result.alternatives]
    assert names == ["standard", SEPARABLE, DECOUPLED, "ghost (half, dw 5x5)", "space to depth, pw"]
    assert all(row.formula_macs == "" for row in result.alternatives)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "conv"}, "unknown layer 'conv'"),
        ({"layer": "conv3x5"}, "unknown layer"),
        ({"layer": "conv4x4"}, "odd K"),
        ({"layer": "conv0x0"}, "odd K"),
        ({"layer": ""}, "unknown layer"),
        ({"layer": "conv3x3", "cin": 0}, "`cin` must be at least 1, got 0"),
        ({"layer": "conv3x3", "cin": -4}, "`cin`"),
        ({"layer": "conv3x3", "cout": -1}, "`cout`"),
        ({"layer": "conv3x3", "stride": 0}, "`stride`"),
        ({"layer": "conv3x3", "size": -80}, "`size`"),
    ],
)
def test_bad_layers_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        api.layer_cost(**settings)  # type: ignore[arg-type]
