"""Mobile blocks against their published formulas, and the maps of EfficientNet under YOLOv8."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.graphs import Case, graph_of, params_of

from effscope.costing.nodes import node_costs, parameters
from effscope.errors import EffscopeError
from effscope.layouts.blocks.stages import bottleneck
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.expand import expand, stages
from effscope.layouts.zoo.catalog import layout
from effscope.layouts.zoo.efficientnet import TAPS
from effscope.nn.build import build
from effscope.spec.ops import shapes

WIDTH = st.integers(1, 40)
ODD = st.sampled_from([3, 5, 7])


@given(WIDTH, st.integers(1, 16))
def test_squeeze_and_excitation(squeezed: int, r: int) -> None:
    c = squeezed * r
    assert params_of(BLOCKS["SE"].emit, c, ratio=r) == 2 * c**2 // r + c // r + c


def test_squeeze_and_excitation_scales_channels_by_a_gate_of_their_means() -> None:
    network = build(graph_of(Case(8, {"ratio": 2}), BLOCKS["SE"].emit)).eval()
    image = torch.rand(2, 8, 6, 5)
    (out,) = network(image)["features"]
    first, second = (network.model["0"].get_submodule(name) for name in ("fc1", "fc2"))
    gate = torch.sigmoid(second(torch.nn.functional.silu(first(image.mean((2, 3), keepdim=True)))))
    assert torch.allclose(out, image * gate, atol=1e-6)


@given(st.integers(4, 40), st.lists(ODD, min_size=1, max_size=4).map(tuple))
def test_mixed_kernels_share_the_channels(c: int, kernels: tuple[int, ...]) -> None:
    graph = graph_of(Case(c, {"kernels": kernels}), BLOCKS["MixConv"].emit)
    convs = [node.args for node in graph.nodes if node.op == "conv2d"]
    assert [args["k"] for args in convs] == [(k, k) for k in kernels]
    assert all(args["groups"] == args["c_in"] == args["c_out"] for args in convs)
    assert sum(args["c_in"] for args in convs) == c
    assert max(args["c_in"] for args in convs) - c // len(kernels) < len(kernels)
    assert parameters(graph) == sum(args["c_in"] * k**2 for args, k in zip(convs, kernels, strict=True)) + 2 * c


def test_more_kernels_than_channels_are_refused() -> None:
    with pytest.raises(EffscopeError, match="2 channels cannot be shared among 3 kernels"):
        graph_of(Case(2, {"kernels": (3, 5, 7)}), BLOCKS["MixConv"].emit)


@given(WIDTH, st.integers(2, 8), ODD, st.booleans())
def test_inverted_residual(c: int, e: int, k: int, squeezed: bool) -> None:
    norms = 2 * (2 * e * c + c)
    gate = 2 * c * (e * c) + c + e * c if squeezed else 0
    made = params_of(BLOCKS["InvertedResidual"].emit, c, c_out=c, k=k, expansion=e, squeeze=int(squeezed))
    assert made == 2 * e * c**2 + k**2 * e * c + norms + gate


@given(WIDTH, WIDTH, ODD)
def test_linear_bottleneck_ends_without_activation(c: int, c_out: int, k: int) -> None:
    graph = graph_of(Case(c, {"c_out": c_out, "k": k}), BLOCKS["LinearBottleneck"].emit)
    assert parameters(graph) == k**2 * c + c * c_out + 2 * (c + c_out)
    assert [n.op for n in graph.nodes if n.op != "input"][:5] == ["conv2d", "batchnorm", "relu6", "conv2d", "batchnorm"]
    assert any(n.op == "add" for n in graph.nodes) == (c == c_out)


@given(WIDTH.map(lambda n: 8 * n), st.sampled_from([2, 4, 8]))
def test_map_sizes_of_inverted_and_classic_bottleneck(c: int, e: int) -> None:
    """Values per position at the first pointwise: (1 + e)C for the inverted, (1 + 1/e)C for the classic one."""
    side = 4
    inverted = graph_of(Case(c, {"c_out": c, "expansion": e}), BLOCKS["InvertedResidual"].emit)
    classic = graph_of(Case(c, {"kernels": (1, 3), "expansion": 1 / e}), bottleneck)
    held = []
    for graph in (inverted, classic):
        row = next(r for r in node_costs(graph, (1, c, side, side)) if r.node.op == "conv2d")
        held.append((row.counts.elements_in + row.counts.elements_out) / side**2)
    assert held == [(1 + e) * c, (1 + 1 / e) * c]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("c_out", [8, 12])
def test_the_input_is_added_only_if_shapes_are_equal(stride: int, c_out: int) -> None:
    graph = graph_of(Case(8, {"c_out": c_out, "s": stride}), BLOCKS["InvertedResidual"].emit)
    assert any(n.op == "add" for n in graph.nodes) == (stride == 1 and c_out == 8)


@pytest.mark.parametrize(("size", "widths"), [("b0", [40, 112, 320]), ("b5", [64, 176, 512])])
def test_maps_at_strides_8_16_32(size: str, widths: list[int]) -> None:
    model = layout(f"efficientnet-{size}-yolov8", 3)
    graph = expand(model)
    known = shapes(graph, (1, 3, 256, 256))
    last = {node.layer: known[node.name] for node in graph.nodes if node.layer != str(len(model.layers) - 1)}
    assert [last[str(n)] for n in TAPS] == [
        (1, c, 256 // s, 256 // s) for c, s in zip(widths, (8, 16, 32), strict=True)
    ]
    assert graph.info["strides"] == (8, 16, 32)
    assert [s.block for s in stages(model)] == ["MBStage"] * 7 + ["C2f"] * 4
