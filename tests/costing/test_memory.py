"""Memory of activations: by hand, by definition on random graphs, and as torch allocates it."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from effscope.costing.model import cost, peak_elements
from effscope.costing.nodes import node_costs
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.nn.build import build, view
from effscope.nn.fuse import deploy
from effscope.spec.graph import INPUT, Graph, Node


def graph(*nodes: tuple[str, str, tuple[str, ...]]) -> Graph:
    all_nodes = [Node(INPUT, "input", args={"c": 2})]
    all_nodes += [Node(name, op, inputs, ARGS.get(op, {})) for name, op, inputs in nodes]
    return Graph(tuple(all_nodes), {"out": (all_nodes[-1].name,)})


ARGS: dict[str, dict[str, Any]] = {"concat": {"dim": 1}, "split": {"dim": 1, "sizes": (1, 1)}, "item": {"index": 0}}
IMAGE = (1, 2, 3, 5)
ONE = 2 * 3 * 5


def peak(found: Graph) -> tuple[int, str]:
    return peak_elements(node_costs(found, IMAGE), found.views["out"])


def test_peaks_by_hand() -> None:
    chain = graph(("a", "silu", (INPUT,)), ("b", "silu", ("a",)), ("c", "silu", ("b",)))
    assert peak(chain) == (3 * ONE, "b")  # the image, the input and the output of b
    skip = graph(("a", "silu", (INPUT,)), ("b", "silu", ("a",)), ("c", "silu", ("b",)), ("d", "add", ("a", "c")))
    assert peak(skip) == (4 * ONE, "c")  # a is kept for the sum
    joined = graph(("a", "silu", (INPUT,)), ("b", "concat", ("a", "a")))
    assert peak(joined) == (4 * ONE, "b")
    viewed = graph(("a", "silu", (INPUT,)), ("s", "split", ("a",)), ("i", "item", ("s",)), ("b", "silu", ("i",)))
    assert peak(viewed) == (2 * ONE + ONE // 2, "b")  # b reads half of a, but all of a is alive


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=12))
def test_peaks_by_definition(reads: list[list[int]]) -> None:
    names = [INPUT]
    nodes = []
    for n, picked in enumerate(reads):
        inputs = tuple(names[p % len(names)] for p in picked)
        nodes.append((f"n{n}", "add", inputs))
        names.append(f"n{n}")
    found = graph(*nodes)
    last = {name: max([n for n, node in enumerate(found.nodes) if name in (node.name, *node.inputs)]) for name in names}
    last[INPUT] = last[names[-1]] = len(names)
    live = [sum(ONE for m, name in enumerate(names) if m <= n <= last[name]) for n in range(len(names))]
    assert peak(found)[0] == max(live)


class LiveBytes(TorchDispatchMode):
    """Bytes of living tensors without weights, and their maximum."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights, self.holders, self.live, self.most = weights, Counter[int](), 0, 0

    def watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self.weights or not size:
            return
        self.live += 0 if self.holders[key] else size
        self.holders[key] += 1
        weakref.finalize(tensor, self.gone, key, size)
        self.most = max(self.most, self.live)

    def gone(self, key: int, size: int) -> None:
        self.holders[key] -= 1
        self.live -= 0 if self.holders[key] else size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.watch(leaf)
        return out


@pytest.mark.parametrize("form", ["one head, decoded", "deploy"])
@pytest.mark.parametrize("name", ["yolox-nano", "yolov8n", "yolov10n", "yolo11n", "yolov9t"])
def test_peaks_against_torch(name: str, form: str) -> None:
    """Torch holds the arguments of a running layer, so it needs as much or more. yolox-nano: exactly as much."""
    network = view(build(expand(layout(name))), "decoded").eval()
    network = deploy(network) if form == "deploy" else network
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    with torch.no_grad(), LiveBytes(weights) as held:
        network(torch.zeros(1, 3, 320, 320))
    counted = next(row for row in cost(layout(name), 320).forms if row.form == form).peak_activation_bytes
    assert counted <= held.most <= 1.25 * counted
    if name == "yolox-nano":
        assert counted == held.most


def test_a_network_frees_each_value_after_its_last_reader() -> None:
    network = build(expand(layout("yolov8n"))).eval()
    wires = [network.wiring[position] for position in network.model]
    outputs = {name for names in network.spec.views.values() for name in names}
    freed = [name for wire in wires for name in wire.done]
    for n, wire in enumerate(wires):
        later = {name for other in wires[n + 1 :] for name in other.inputs}
        assert not later & set(wire.done)
    assert sorted(freed) == sorted({name for wire in wires for name in wire.inputs} - outputs)


def test_dtype_scales_bytes_only() -> None:
    full, half = (cost(layout("yolov8n"), 64, dtype) for dtype in ("float32", "float16"))
    assert full.bytes == 2 * half.bytes
    assert full.peak_activation_bytes == 2 * half.peak_activation_bytes
    assert (full.macs, full.params, full.peak_at) == (half.macs, half.params, half.peak_at)
    for row in full.layers:
        assert row.bytes == row.bytes_read + row.bytes_written
        assert row.intensity == pytest.approx(row.flops / row.bytes)
