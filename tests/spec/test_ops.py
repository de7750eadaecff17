"""Primitives: the tables of shapes, laws and torch modules agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from support.primitive_calls import CALLS, Call, conv2d
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effscope.costing.laws import LAWS, VIEWS_ONLY, count, params
from effscope.errors import EffscopeError
from effscope.nn.modules import BUILDERS
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.ops import OPS, shapes


def shape_of(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else tuple(shape_of(v) for v in value)


def test_the_tables_have_equal_keys() -> None:
    assert set(OPS) == set(LAWS) == set(BUILDERS) == set(CALLS)
    assert set(OPS) >= VIEWS_ONLY


@pytest.mark.parametrize("op", OPS)
def test_shapes_and_tensors_equal_those_of_the_torch_module(op: str) -> None:
    @settings(max_examples=60 if op == "conv2d" else 20, deadline=None)
    @given(CALLS[op])
    def check(call: Call) -> None:
        args, inputs = call
        assert set(args) == set(OPS[op].arguments)
        if op in ("parameter", "constant"):
            assert tuple(BUILDERS[op](args).shape) == OPS[op].shape(args, [])
            assert {role: t.shape for role, t in OPS[op].tensors(args).items()} == {"": args["shape"]}
            return
        module = BUILDERS[op](args).eval()
        tensors: list[Any] = [torch.rand(shape) for shape in inputs]
        given_shapes: list[Any] = inputs
        if op == "item":
            tensors, given_shapes = [(tensors[0], tensors[0])], [(inputs[0], inputs[0])]
        with torch.no_grad():
            out = module(*tensors)
        assert shape_of(out) == OPS[op].shape(args, given_shapes)
        owned = OPS[op].tensors(args)
        assert {k: tuple(v.shape) for k, v in module.state_dict().items()} == {k: t.shape for k, t in owned.items()}
        trained = {k for k, p in module.named_parameters() if p.requires_grad}
        assert trained == {k for k, t in owned.items() if t.kind == "param"}
        assert params(op, args) == sum(p.numel() for p in module.parameters())

    check()


@settings(max_examples=60, deadline=None)
@given(conv2d())
def test_law_of_a_convolution_equals_what_torch_counts(call: Call) -> None:
    args, (shape,) = call
    module = BUILDERS["conv2d"](args)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = module(torch.rand(shape))
    counts = count("conv2d", args, [shape], tuple(out.shape))
    assert counter.get_total_flops() == 2 * counts.macs == counts.conv_flops
    assert counts.bias == (out.numel() if args["bias"] else 0)
    assert counts.flops == 2 * counts.macs + counts.bias
    assert (counts.elements_in, counts.elements_out) == (torch.rand(shape).numel(), out.numel())


@pytest.mark.parametrize(
    ("op", "args", "inputs", "column", "expected"),
    [
        ("batchnorm", {"c": 3}, [(2, 3, 4, 5)], "norm", 240),
        ("silu", {}, [(2, 3, 4, 5)], "act", 240),
        ("sigmoid", {}, [(2, 3, 4, 5)], "act", 120),
        ("softmax", {"dim": 1}, [(2, 3, 4, 5)], "softmax", 360),
        ("maxpool", {"k": 3, "s": 1, "p": 1, "ceil": False}, [(1, 1, 4, 5)], "pool", 160),
        ("add", {}, [(1, 2, 3, 4)] * 3, "elementwise", 48),
    ],
)
def test_laws_by_hand(op: str, args: dict[str, Any], inputs: list[tuple[int, ...]], column: str, expected: int) -> None:
    counts = count(op, args, inputs, OPS[op].shape(args, inputs))
    assert getattr(counts, column) == counts.flops == expected
    assert counts.macs == 0


@pytest.mark.parametrize(
    ("op", "args", "inputs", "message"),
    [
        ("conv2d", {"c_in": 4}, [(1, 3, 8, 8)], "for 4 channels got 3"),
        ("add", {}, [(1, 2, 3, 3), (1, 2, 3, 4)], "unequal shapes"),
        ("concat", {"dim": 1}, [(1, 2, 3, 3), (1, 2, 3, 4)], "shapes that differ"),
    ],
)
def test_shapes_that_do_not_fit_name_the_node(
    op: str, args: dict[str, Any], inputs: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(EffscopeError, match=message):
        OPS[op].shape(args, inputs)
    if op == "conv2d":
        graph = Graph((Node(INPUT, "input"), Node("model.0.conv", op, (INPUT,), args, "7")), {})
        with pytest.raises(EffscopeError, match=r"model\.0\.conv \(layer 7\): .*for 4 channels got 3"):
            shapes(graph, inputs[0])


def test_a_window_larger_than_its_map_is_refused() -> None:
    args = {"c_in": 1, "c_out": 1, "k": (5, 5), "s": (1, 1), "p": (0, 0), "d": (1, 1), "groups": 1}
    with pytest.raises(RuntimeError):
        nn.Conv2d(1, 1, 5)(torch.rand(1, 1, 3, 3))
    with pytest.raises(EffscopeError):
        OPS["conv2d"].shape(args, [(1, 1, 3, 3)])


def test_unknown_primitive_lists_the_known() -> None:
    with pytest.raises(EffscopeError, match="unknown primitive 'magic': choose one of input, parameter"):
        shapes(Graph((Node("a", "magic"),), {}), (1, 3, 8, 8))


def test_fixed_weights_are_counted_but_not_trained() -> None:
    args = {"c_in": 16, "c_out": 1, "k": (1, 1), "s": (1, 1), "p": (0, 0), "d": (1, 1), "groups": 1, "bias": False,
            "init": "arange", "bias_init": None}  # fmt: skip
    module = BUILDERS["conv2d"](args)
    (weight,) = module.parameters()
    assert torch.equal(weight.flatten(), torch.arange(16.0))
    assert not weight.requires_grad
    assert OPS["conv2d"].tensors(args)["weight"].kind == "frozen"
    assert params("conv2d", args) == 16


def test_softmax_and_boxes_are_computed_in_float32() -> None:
    assert BUILDERS["softmax"]({"dim": 1})(torch.rand(1, 4, 2).bfloat16()).dtype == torch.float32
    wide = BUILDERS["dist2box"]({"strides": (8,), "box_format": "xyxy"})
    boxes = wide(torch.zeros(1, 4, 600).bfloat16(), torch.zeros(1, 1, 1, 600).bfloat16())
    assert torch.equal(boxes[0, 0], (torch.arange(600.0) + 0.5) * 8)


def test_boxes_by_hand() -> None:
    sides = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1).expand(1, 4, 2)
    level = torch.zeros(1, 1, 1, 2)
    corners = BUILDERS["dist2box"]({"strides": (10,), "box_format": "xyxy"})(sides, level)
    assert torch.equal(corners[0, :, 1], torch.tensor([5.0, -15.0, 45.0, 45.0]))
    centres = BUILDERS["dist2box"]({"strides": (10,), "box_format": "xywh"})(sides, level)
    assert torch.equal(centres[0, :, 1], torch.tensor([25.0, 15.0, 40.0, 60.0]))
