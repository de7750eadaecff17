"""Blocks against their published formulas, biases and widths, and the errors of the emitter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Case, graph_of, params_of

from effscope.errors import EffscopeError
from effscope.layouts.blocks import stages as stage_blocks
from effscope.layouts.blocks.heads import CLASS_TOWERS, class_bias
from effscope.layouts.blocks.table import BLOCKS
from effscope.nn.build import build
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT

FLAG = st.booleans()


@given(st.integers(1, 300), FLAG)
def test_published_formula_of_bottleneck(c: int, shortcut: bool) -> None:
    assert params_of(stage_blocks.bottleneck, c, shortcut=shortcut) == 18 * c**2 + 4 * c


@given(st.integers(1, 300), FLAG, FLAG)
def test_published_formula_of_cib(c: int, shortcut: bool, large: bool) -> None:
    expected = 4 * c**2 + 50 * c + (102 * c if large else 0)
    assert params_of(stage_blocks.cib, c, shortcut=shortcut, large_kernel=large) == expected


@given(st.integers(1, 300))
def test_published_formula_of_scdown(c: int) -> None:
    norms = 2 * 2 * (2 * c)
    assert params_of(BLOCKS["SCDown"].emit, c, c_out=2 * c) == 2 * c**2 + 18 * c + norms


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 4))
def test_c2f_by_hand(c1: int, c: int, n: int) -> None:
    opening, closing = c1 * 2 * c + 2 * 2 * c, (2 + n) * c * 2 * c + 2 * 2 * c
    inner = n * (18 * c**2 + 4 * c)
    assert params_of(BLOCKS["C2f"].emit, c1, c_out=2 * c, n=n) == opening + inner + closing


@given(st.integers(1, 40), st.integers(1, 64))
def test_sppf_by_hand(half: int, c_out: int) -> None:
    c1 = 2 * half
    expected = c1 * half + 2 * half + 4 * half * c_out + 2 * c_out
    assert params_of(BLOCKS["SPPF"].emit, c1, c_out=c_out) == expected


@pytest.mark.parametrize("emit", [stage_blocks.bottleneck, stage_blocks.cib])
@pytest.mark.parametrize("shortcut", [True, False])
def test_shortcut_is_a_sum_with_the_input(emit: Callable[..., Value], shortcut: bool) -> None:
    graph = graph_of(Case(4, {"shortcut": shortcut}), emit)
    sums = [n for n in graph.nodes if n.op == "add" and INPUT in n.inputs]
    assert len(sums) == shortcut


def test_large_kernel_branch_is_a_sum_of_seven_and_three() -> None:
    graph = graph_of(Case(4, {"large_kernel": True}), stage_blocks.cib)
    (add,) = (n for n in graph.nodes if n.name.endswith("cv1.2.add"))
    kernels = {graph.by_name()[graph.by_name()[i].inputs[0]].args["k"] for i in add.inputs}
    assert kernels == {(7, 7), (3, 3)}
    assert [n.op for n in graph.nodes if add.name in n.inputs] == ["silu"]


@pytest.mark.parametrize("tower", CLASS_TOWERS)
@pytest.mark.parametrize("nc", [1, 80])
def test_head_starts_with_the_published_biases(tower: str, nc: int) -> None:
    case = Case(16, {"nc": nc, "class_tower": tower}, (1, 2, 4))
    network = build(graph_of(case, BLOCKS["Detect"].emit, many=True))
    for level, stride in enumerate((8, 16, 32)):
        box, scores = (network.get_parameter(f"model.0.{cv}.{level}.2.bias").detach() for cv in ("cv2", "cv3"))
        assert torch.equal(box, torch.full_like(box, 1.0))
        assert torch.allclose(scores, torch.full_like(scores, class_bias(nc, stride)))
        assert 5 / nc == pytest.approx(float(scores[0].exp()) * (640 / stride) ** 2)


def test_head_widths_are_the_published_ones() -> None:
    for c0, nc, box, cls in [
        (64, 80, 64, 80),
        (128, 80, 64, 128),
        (320, 80, 80, 320),
        (16, 300, 64, 100),
        (16, 2, 64, 16),
    ]:
        case = Case(c0 // 2, {"nc": nc}, (1, 2, 4))
        nodes = graph_of(case, BLOCKS["Detect"].emit, many=True).by_name()
        assert nodes["model.0.cv2.0.0.conv"].args["c_out"] == box
        assert nodes["model.0.cv3.0.0.conv"].args["c_out"] == cls


def test_maps_of_different_strides_cannot_be_concatenated() -> None:
    with pytest.raises(EffscopeError, match="strides 8, 16"):
        graph_of(Case(4, {}, (1, 2)), BLOCKS["Concat"].emit, many=True)


def test_groups_must_divide_the_channels() -> None:
    emitter = Emitter("model.0", "0", [], {}, {})
    with pytest.raises(EffscopeError, match="4 groups do not divide 6 -> 8 channels"):
        emitter.conv2d(Value(INPUT, 6), 8, groups=4)


def test_an_unknown_argument_of_a_primitive_is_refused() -> None:
    with pytest.raises(TypeError, match="takes"):
        Emitter("model.0", "0", [], {}, {}).same("silu", "act", Value(INPUT, 6), slope=2)
