"""Deploy form: same outputs, the parameters of the law, and views with the nodes that they need."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_files import lively, with_random_norms
from torch import nn

from effscope.costing.laws import params
from effscope.costing.nodes import parameters
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.nn.build import build
from effscope.nn.fuse import deploy, folded_conv
from effscope.spec.emit import Emitter, Value
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.layout import Layout
from effscope.spec.rewrite import FoldBN, MergeBranches, deploy_form, fold_bn, merge_branches


def moved(*names: str, model: str = "yolov8n", nc: int = 5) -> Layout:
    result = layout(model, nc)
    for name in names:
        result = move(result, name)
    return result


LAYOUTS = {"plain": (), "cib-lk": ("cib-lk",), "light, scdown, cib": ("light-head", "scdown", "cib")}


@pytest.mark.parametrize("moves", LAYOUTS.values(), ids=LAYOUTS)
def test_deploy_form_gives_the_same_outputs(moves: tuple[str, ...]) -> None:
    network = lively(moved(*moves))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = network(images)["decoded"][0]
        small = deploy(network)
        found = small(images)["decoded"][0]
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-3), (found - wanted).abs().max()
    assert not small.training
    assert list(small.spec.views) == ["decoded"]
    assert sum(p.numel() for p in small.parameters()) == parameters(deploy_form(network.spec)[0])
    assert not any(isinstance(m, nn.BatchNorm2d) for m in small.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_deploy_form_of_half_precision_weights_is_float32() -> None:
    network = lively(moved()).bfloat16()
    assert {t.dtype for t in deploy(network).state_dict().values()} == {torch.float32}


def test_deploy_leaves_a_training_network_training() -> None:
    network = build(expand(moved()))
    deploy(network)
    assert all(m.training for m in network.modules())


CASES = [(name, ()) for name in ZOO] + [(f"yolov8{s}", moves) for s in "nx" for moves in LAYOUTS.values() if moves]


@pytest.mark.parametrize(("name", "moves"), CASES)
def test_laws_of_the_rewrites(name: str, moves: tuple[str, ...]) -> None:
    """Folding replaces the 2c parameters of each norm by a bias of c; merging removes the smaller branch."""
    graph = expand(moved(*moves, model=name))
    folded, steps = fold_bn(graph)
    norms = [n for n in graph.nodes if n.op == "batchnorm"]
    assert len(steps) == len(norms)
    assert parameters(folded) == parameters(graph) - sum(n.args["c"] for n in norms)
    merged, merges = merge_branches(folded)
    small = {n.module: n for n in folded.nodes if n.op == "conv2d"}
    gone = sum(params("conv2d", small[s.other].args) for s in merges if isinstance(s, MergeBranches))
    if name.startswith("yolov8"):
        assert bool(merges) == ("cib-lk" in moves)
    assert parameters(merged) == parameters(folded) - gone
    known = {INPUT}
    for node in merged.nodes:
        assert set(node.inputs) <= known | {INPUT}
        known.add(node.name)
    assert {n for names in merged.views.values() for n in names} <= known


def conv_and_norm(*, shared: bool = False, output: bool = False) -> Graph:
    """image -> conv -> batch norm; `shared`: an activation also reads the convolution; `output`: it is an output."""
    e = Emitter("model.0", "0", [Node(INPUT, "input", args={"c": 3}, layer=INPUT)], {}, {})
    conv = e.conv2d(Value(INPUT, 3), 4, 3)
    norm = e.norm(conv)
    out = e.add("add", norm, e.same("silu", "act", conv)) if shared else norm
    views = {"features": (out.name, conv.name) if output else (out.name,)}
    return Graph(tuple(e.nodes), views, ("0",))


def test_a_norm_after_a_convolution_with_other_readers_stays() -> None:
    for graph in (conv_and_norm(shared=True), conv_and_norm(output=True)):
        folded, steps = fold_bn(graph)
        assert steps == ()
        assert folded == graph
    assert len(fold_bn(conv_and_norm())[1]) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 3]), st.booleans(), st.integers(0, 99))
def test_folded_convolution_equals_convolution_and_norm(c_in: int, c_out: int, k: int, bias: bool, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    conv, norm = nn.Conv2d(c_in, c_out, k, bias=bias).double(), nn.BatchNorm2d(c_out, eps=1e-3).double().eval()
    norm.running_mean = torch.randn(c_out, generator=random).double()
    norm.running_var = torch.rand(c_out, generator=random).double() * 2
    norm.weight.data.copy_(torch.randn(c_out, generator=random))
    norm.bias.data.copy_(torch.randn(c_out, generator=random))
    x = torch.randn(1, c_in, 5, 5, generator=random).double()
    weight, shift = folded_conv(conv, norm)
    assert torch.allclose(nn.functional.conv2d(x, weight, shift), norm(conv(x)), atol=1e-10)


def branches(kernels: tuple[object, object], *, strides: tuple[int, int] = (1, 1), apart: bool = False) -> Graph:
    """A sum of two parallel depthwise convolutions; `apart`: the second one reads the first."""
    e = Emitter("model.0", "0", [Node(INPUT, "input", args={"c": 4}, layer=INPUT)], {}, {})
    x = Value(INPUT, 4)
    a, b = (
        e.conv2d(x, 4, k, s, groups=4, bias=True, name=f"c{i}")  # type: ignore[arg-type]
        for i, (k, s) in enumerate(zip(kernels, strides, strict=True))
    )
    if apart:
        b = e.conv2d(a, 4, 3, groups=4, bias=True, name="c2")
    out = e.add("add", a, b)
    return Graph(tuple(e.nodes), {"features": (out.name,)}, ("0",))


@pytest.mark.parametrize("kernels", [(7, 3), (3, 7), (5, 1), (3, 3), (1, 1), ((3, 3), (1, 3))])
def test_parallel_branches_merge_exactly(kernels: tuple[object, object]) -> None:
    graph = branches(kernels)
    merged, steps = merge_branches(graph)
    assert len(steps) == 1
    assert [n.op for n in merged.nodes] == ["input", "conv2d"]
    network = build(graph).eval()
    small = deploy(network)
    image = torch.rand(1, 4, 9, 8)
    with torch.no_grad():
        assert torch.allclose(small(image)["features"][0], network(image)["features"][0], atol=1e-6)


@pytest.mark.parametrize("kernels", [((1, 5), (3, 3)), ((5, 1), (3, 3)), ((1, 3), (3, 1))])
def test_branches_with_crossed_kernels_keep_their_outputs(kernels: tuple[object, object]) -> None:
    """No kernel covers the other one: they must stay, or merge into a larger kernel."""
    network = build(branches(kernels)).eval()
    image = torch.rand(1, 4, 9, 8)
    with torch.no_grad():
        assert torch.allclose(deploy(network)(image)["features"][0], network(image)["features"][0], atol=1e-6)


def test_sums_that_are_not_of_parallel_branches_stay() -> None:
    for graph in (branches((3, 3), apart=True), branches((4, 4)), expand(moved("cib-lk"))):
        assert merge_branches(graph)[1] == ()


def test_a_branch_that_is_an_output_stays() -> None:
    graph = branches((3, 3))
    shown = Graph(graph.nodes, {"features": (*graph.views["features"], "model.0.c1")}, graph.layers)
    known = {node.name for node in merge_branches(shown)[0].nodes}
    assert {name for names in merge_branches(shown)[0].views.values() for name in names} <= known


def test_a_convolution_shared_by_two_norms_keeps_its_outputs() -> None:
    """One weight with two batch norms (a head that its levels share) cannot be folded into one weight."""
    e = Emitter("model.0", "0", [Node(INPUT, "input", args={"c": 4}, layer=INPUT)], {}, {})
    first = e.conv2d(Value(INPUT, 4), 4, 3)
    again = Node("model.0.conv@2", "conv2d", (INPUT,), e.nodes[-1].args, "0", e.nodes[-1].params)
    e.nodes.append(again)
    norms = [e.norm(x, f"bn{i}") for i, x in enumerate((first, Value(again.name, 4)))]
    graph = Graph(tuple(e.nodes), {"features": tuple(n.name for n in norms)}, ("0",))
    network = with_random_norms(build(graph))
    image = torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        for a, b in zip(deploy(network)(image)["features"], network(image)["features"], strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_deploy_form_of_a_deploy_form_is_the_same() -> None:
    once, _ = deploy_form(expand(moved("cib-lk")))
    assert deploy_form(once) == (once, ())


def test_keep_drops_the_nodes_that_no_view_needs() -> None:
    graph = expand(moved())
    raw = graph.keep("o2m")
    assert set(raw.views) == {"o2m"}
    assert {n.name for n in graph.nodes} - {n.name for n in raw.nodes} == {
        n.name for n in graph.nodes if n.layer == "22" and ".cv" not in n.name and "level" not in n.name
    }
    assert graph.keep("o2m", "decoded") == graph
    assert raw.layers == graph.layers
    with pytest.raises(EffscopeError, match="unknown view 'o2o': choose one of o2m, decoded"):
        graph.keep("o2o")


def test_steps_name_modules_of_the_network() -> None:
    graph = expand(moved("cib-lk"))
    network = build(graph)
    for step in deploy_form(graph)[1]:
        pair = (step.conv, step.bn) if isinstance(step, FoldBN) else (step.into, step.other)
        kinds = (nn.Conv2d, nn.BatchNorm2d) if isinstance(step, FoldBN) else (nn.Conv2d, nn.Conv2d)
        assert all(isinstance(network.get_submodule(p), k) for p, k in zip(pair, kinds, strict=True))
