"""Every block of the table: its law against the built module, shapes and FLOPs against torch."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graphs import Case, graph_of
from torch.utils.flop_counter import FlopCounterMode

from effscope.costing.nodes import node_costs, parameters, total
from effscope.layouts.blocks.heads import CLASS_TOWERS, PAIRINGS
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.blocks.yolox import FORMS
from effscope.nn.build import build
from effscope.spec.ops import shapes

SIDE = 32
WIDTHS = st.integers(2, 12)
FLAG = st.booleans()
ODD = st.sampled_from([1, 3, 5])


def cases(strides: st.SearchStrategy[tuple[int, ...]] | None = None, **args: st.SearchStrategy[Any]) -> Any:
    return st.builds(Case, WIDTHS, st.fixed_dictionaries(args), st.just((1,)) if strides is None else strides)


def chained(c: int) -> tuple[tuple[Any, ...], ...]:
    """An inverted residual as a chain of primitives."""
    return (
        ("conv2d", "layers.0.c", 3 * c, (1, 1), (1, 1), (0, 0), (1, 1), 1, False),
        ("batchnorm", "layers.0.bn", 1e-5, 0.1),
        ("hardswish", "layers.0.act"),
        ("maxpool", "pool", 3, 1, 1),
        ("conv2d", "layers.1.c", 3 * c, (3, 3), (1, 1), (1, 1), (1, 1), 3 * c, False),
        ("conv2d", "layers.2", c, (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    )


def towers(c_out: int) -> tuple[Any, ...]:
    """One tower of a level."""
    unit = ("conv2d", "0.conv", 6, (1, 1), (1, 1), (0, 0), (1, 1), 1, False)
    return (unit, ("silu", "0.act"), ("conv2d", "1", c_out, (1, 1), (1, 1), (0, 0), (1, 1), 1, True))


EVEN = st.integers(1, 5).map(lambda n: 2 * n)
N = st.integers(0, 2)
QUADS = st.integers(1, 4).map(lambda n: 4 * n)
ACT = st.sampled_from([True, False, "relu", "leaky_relu"])
CSP: dict[str, Any] = {
    "c_out": EVEN, "n": N, "shortcut": FLAG, "groups": st.just(1), "expansion": st.sampled_from([0.5, 1.0]),
}  # fmt: skip


def kept(c: st.SearchStrategy[int], **args: st.SearchStrategy[Any]) -> Any:
    """Cases of blocks that keep their channels."""
    made = st.tuples(c, st.fixed_dictionaries(args))
    return made.map(lambda t: Case(t[0], {"c_out": t[0], **t[1]}))


def hg_block(c_mid: int, c_out: int, k: int, n: int, light: bool, shortcut: bool) -> Case:
    args = {"c_mid": c_mid, "c_out": c_out, "k": k, "n": n, "light": light, "shortcut": shortcut}
    return Case(c_out if shortcut else 3, args)


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Conv": cases(
        c_out=WIDTHS,
        k=ODD,
        s=st.integers(1, 3),
        p=st.sampled_from([None, 1]),
        groups=st.just(1),
        d=st.integers(1, 2),
        act=ACT,
    ),
    "DWConv": cases(c_out=WIDTHS, k=ODD, s=st.integers(1, 2), d=st.just(1), act=ACT),
    "LightConv": cases(c_out=WIDTHS, k=ODD, act=ACT),
    "Focus": cases(c_out=WIDTHS, k=ODD, s=st.just(1), p=st.none(), groups=st.just(1), act=ACT),
    "GhostConv": cases(c_out=EVEN, k=ODD, s=st.integers(1, 2), groups=st.just(1), act=ACT),
    "SCDown": cases(c_out=WIDTHS, k=ODD, s=st.integers(1, 3)),
    "AConv": cases(c_out=WIDTHS),
    "ADown": cases(c_out=EVEN),
    "ConvTranspose": cases(c_out=WIDTHS, k=st.just(2), s=st.just(2), p=st.just(0)),
    "ConvTranspose2d": cases(c_out=WIDTHS, k=st.integers(2, 3), s=st.just(2), p=st.integers(0, 1)),
    "MaxPool2d": cases(k=st.integers(2, 3), s=st.sampled_from([None, 1, 2]), p=st.integers(0, 1)),
    "ZeroPad2d": cases(sides=st.tuples(*[st.integers(0, 2)] * 4)),
    "Identity": cases(),
    "Upsample": cases(size=st.none(), scale=st.integers(1, 3), mode=st.sampled_from(["nearest", "bilinear"])),
    "Concat": cases(st.integers(1, 3).map(lambda n: (1,) * n), dim=st.just(1)),
    "CBLinear": cases(widths=st.lists(WIDTHS, min_size=1, max_size=3).map(tuple), k=ODD, s=st.integers(1, 2)),
    "CBFuse": cases(st.just((2, 1, 1)), picks=st.just((0, 0))),
    "Bottleneck": cases(c_out=EVEN, shortcut=FLAG, groups=st.just(1), expansion=st.just(0.5)),
    "GhostBottleneck": st.one_of(kept(st.just(8), k=ODD, s=st.just(1)), cases(c_out=st.just(8), k=ODD, s=st.just(2))),
    "C1": cases(c_out=WIDTHS, n=N),
    "C2": cases(**CSP),
    "C2f": cases(**CSP),
    "C2fCIB": cases(c_out=WIDTHS, n=st.integers(0, 2), shortcut=FLAG, large_kernel=FLAG),
    "C3": cases(**CSP),
    "C3x": cases(**CSP),
    "C3Ghost": cases(**CSP | {"c_out": st.just(8), "expansion": st.just(0.5)}),
    "C3k2": cases(
        c_out=st.just(16), n=N, c3k=FLAG, expansion=st.just(0.5), attention=FLAG, groups=st.just(1), shortcut=FLAG
    ),
    "A2C2f": st.builds(
        lambda n, attention, area, residual: Case(
            64,
            {
                "c_out": 64,
                "n": n,
                "attention": attention,
                "area": area,
                "residual": residual,
                "mlp_ratio": 1.2,
                "expansion": 0.5,
                "groups": 1,
                "shortcut": True,
            },
        ),
        N,
        FLAG,
        st.sampled_from([1, 4]),
        FLAG,
    ),
    "RepC3": cases(c_out=EVEN, n=N, expansion=st.sampled_from([0.5, 1.0])),
    "RepNCSPELAN4": cases(c_out=WIDTHS, c_split=EVEN, c_part=EVEN, depth=N),
    "ELAN1": cases(c_out=WIDTHS, c_split=EVEN, c_part=WIDTHS),
    "HGStem": cases(c_mid=EVEN, c_out=WIDTHS),
    "HGBlock": st.builds(hg_block, WIDTHS, EVEN, ODD, N, FLAG, FLAG),
    "ResNetLayer": st.builds(
        lambda first, s, depth: Case(4, {"c_in": 4, "c_mid": 3, "s": s, "first": first, "depth": depth, "ratio": 4}),
        FLAG,
        st.integers(1, 2),
        st.integers(1, 2),
    ),
    "SPP": cases(c_out=WIDTHS, kernels=st.just((3, 5))),
    "SPPF": cases(c_out=WIDTHS, k=ODD, n_pools=st.sampled_from([None, 2, 3]), shortcut=FLAG),
    "SPPELAN": cases(c_out=WIDTHS, c_hidden=WIDTHS, k=ODD),
    "PSA": kept(QUADS, expansion=st.just(0.5)),
    "C2PSA": kept(QUADS, n=N, expansion=st.just(0.5)),
    "C2fPSA": kept(QUADS, n=N, expansion=st.just(0.5)),
    "AIFI": st.builds(lambda c, wide: Case(8 * c, {"c_hidden": wide, "heads": 2}), st.integers(1, 2), WIDTHS),
    "SE": cases(ratio=st.integers(1, 16), act=ACT),
    "MixConv": st.builds(
        lambda c, kernels, s, act: Case(c, {"kernels": kernels, "s": s, "act": act}),
        st.integers(3, 12),
        st.lists(ODD, min_size=1, max_size=3).map(tuple),
        st.integers(1, 2),
        ACT,
    ),
    "LinearBottleneck": cases(c_out=WIDTHS, k=ODD, s=st.integers(1, 2), squeeze=st.integers(0, 4), act=ACT),
    "InvertedResidual": cases(
        c_out=WIDTHS,
        k=ODD,
        s=st.integers(1, 2),
        expansion=st.sampled_from([1, 2.5, 6]),
        squeeze=st.integers(0, 4),
        act=ACT,
    ),
    "MBStage": cases(
        expansion=st.sampled_from([1, 6]),
        k=ODD,
        s=st.integers(1, 2),
        c_out=WIDTHS,
        depth=st.integers(1, 3),
        squeeze=st.integers(0, 4),
        act=ACT,
    ),
    "SpatialConv": cases(
        c_out=WIDTHS, kernels=ODD.map(lambda k: (k,)), s=st.integers(1, 2), form=st.sampled_from(FORMS)
    ),
    "CSPLayer": st.builds(
        lambda c, half, n, shortcut, kernels, form: Case(
            c,
            {
                "c_out": 2 * half,
                "n": n,
                "shortcut": shortcut,
                "kernels": kernels[: 1 if form == "dense" else 3],
                "form": form,
            },
        ),
        WIDTHS,
        st.integers(3, 8),
        N,
        FLAG,
        st.lists(ODD, min_size=1, max_size=3).map(tuple),
        st.sampled_from(FORMS),
    ),
    "YOLOXHead": cases(
        st.just((1, 2, 4)), nc=st.integers(1, 30), kernels=ODD.map(lambda k: (k,)), form=st.sampled_from(FORMS)
    ),
    "Chain": st.builds(
        lambda c, links, residual: Case(c, {"links": links(c), "residual": residual}), WIDTHS, st.just(chained), FLAG
    ),
    "ChainDetect": cases(
        st.just((1, 2)), nc=st.just(5), towers=st.just(((towers(4 * 4), towers(5)),) * 2), reg_max=st.just(4)
    ),
    "RTDETRDecoder": cases(st.just((1, 2)), nc=st.integers(1, 9)),
    "AnchorDetect": cases(st.just((1, 2)), nc=st.integers(1, 9), anchors=st.just((((4.0, 5.0), (8.0, 9.5)),) * 2)),
    "Detect": cases(
        st.just((1, 2, 4)),
        nc=st.integers(1, 120),
        class_tower=st.sampled_from(sorted(CLASS_TOWERS)),
        pairing=st.sampled_from(PAIRINGS),
        reg_max=st.sampled_from([1, 4, 16]),
    ),
}
"""Block -> cases. Add every new block of the table here."""


PRODUCTS = {"attention", "mha", "matmul", "linear"}
"""Primitives with multiply-adds that are not of a convolution."""


def test_every_block_has_cases() -> None:
    assert set(CASES) == set(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
def test_table_line_agrees_with_the_function(name: str) -> None:
    block = BLOCKS[name]
    _, _, *arguments = inspect.signature(block.emit).parameters
    assert ("n" in arguments) == block.repeats
    assert tuple(a for a in arguments if a != "n") == block.arguments
    assert block.scaled == (block.arguments[:1] == ("c_out",))
    assert block.head == (block.emit.__annotations__["return"] == "None")


@pytest.mark.parametrize("name", BLOCKS)
def test_law_equals_the_built_module(name: str) -> None:
    @settings(max_examples=12, deadline=None)
    @given(CASES[name])
    def check(case: Case) -> None:
        graph = graph_of(case, BLOCKS[name].emit, many=BLOCKS[name].many)
        network = build(graph).eval().requires_grad_(False)
        image = (2, case.c, SIDE, SIDE + 8)
        counts, params = total(node_costs(graph, image))
        assert params == parameters(graph) == sum(p.numel() for p in network.parameters())
        if name == "RTDETRDecoder":  # it is counted but cannot run
            return
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            out = network(torch.rand(image))
        if name == "AIFI":  # torch runs it as one fused operation, which FlopCounterMode does not count
            return
        assert counter.get_total_flops() == 2 * counts.macs
        if not {node.op for node in graph.nodes} & PRODUCTS:
            assert counts.conv_flops == 2 * counts.macs
        known = shapes(graph, image)
        for view, names in graph.views.items():
            assert [tuple(t.shape) for t in out[view]] == [known[n] for n in names]
            assert all(t.isfinite().all() for t in out[view])
        assert set(network.state_dict()) == {key for node in graph.nodes for _, key in node.params}

    check()
