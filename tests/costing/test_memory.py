"""Memory of activations: by hand, by the definition on random graphs, and as torch holds it."""

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
    made = [Node(INPUT, "input", args={"c": 2})]
    made += [Node(name, op, inputs, ARGS.get(op, {})) for name, op, inputs in nodes]
    return Graph(tuple(made), {"out": (made[-1].name,)})


ARGS: dict[str, dict[str, Any]] = {"concat": {"dim": 1}, "split": {"dim": 1, "sizes": (1, 1)}, "item": {"index": 0}}
IMAGE = (1, 2, 3, 5)
ONE = 2 * 3 * 5


def peak(made: Graph) -> tuple[int, str]:
    return peak_elements(node_costs(made, IMAGE), made.views["out"])


def test_by_hand() -> None:
    chain = graph(("a", "silu", (INPUT,)), ("b", "silu", ("a",)), ("c", "silu", ("b",)))
    assert peak(chain) == (3 * ONE, "b")  # the image, what is read, what is written
    kept = graph(("a", "silu", (INPUT,)), ("b", "silu", ("a",)), ("c", "silu", ("b",)), ("d", "add", ("a", "c")))
    assert peak(kept) == (4 * ONE, "c")  # a waits for the sum
    joined = graph(("a", "silu", (INPUT,)), ("b", "concat", ("a", "a")))
    assert peak(joined) == (4 * ONE, "b")
    viewed = graph(("a", "silu", (INPUT,)), ("s", "split", ("a",)), ("i", "item", ("s",)), ("b", "silu", ("i",)))
    assert peak(viewed) == (2 * ONE + ONE // 2, "b")  # half of a is read, all of it is held


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), min_size=1, max_size=12))
def test_by_the_definition(reads: list[list[int]]) -> None:
    names = [INPUT]
    nodes = []
    for n, picked in enumerate(reads):
        inputs = tuple(names[p % len(names)] for p in picked)
        nodes.append((f"n{n}", "add", inputs))
        names.append(f"n{n}")
    made = graph(*nodes)
    last = {name: max([n for n, node in enumerate(made.nodes) if name in (node.name, *node.inputs)]) for name in names}
    last[INPUT] = last[names[-1]] = len(names)
    live = [sum(ONE for m, name in enumerate(names) if m <= n <= last[name]) for n in range(len(names))]
    assert peak(made)[0] == max(live)


class Held(TorchDispatchMode):
    """Bytes of the tensors that are alive, weights aside, and the most there were."""

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
def test_as_torch_holds_it(name: str, form: str) -> None:
    """Equal where the peak is in the early maps; torch holds arguments longer, so never less."""
    network = view(build(expand(layout(name))), "decoded").eval()
    network = deploy(network) if form == "deploy" else network
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    with torch.no_grad(), Held(weights) as held:
        network(torch.zeros(1, 3, 320, 320))
    told = next(row for row in cost(layout(name), 320).forms if row.form == form).peak_activation_bytes
    assert told <= held.most <= 1.25 * told
    if name == "yolox-nano":
        assert told == held.most


def test_a_network_lets_go_of_what_nobody_reads() -> None:
    network = build(expand(layout("yolov8n"))).eval()
    positions = list(network.model)
    for n, position in enumerate(positions):
        later = {name for other in positions[n + 1 :] for name in network.wiring[other].inputs}
        assert not later & set(network.wiring[position].done)


def test_the_dtype_scales_bytes_and_nothing_else() -> None:
    full, half = (cost(layout("yolov8n"), 64, dtype) for dtype in ("float32", "float16"))
    assert full.bytes == 2 * half.bytes
    assert full.peak_activation_bytes == 2 * half.peak_activation_bytes
    assert (full.macs, full.params, full.peak_at) == (half.macs, half.params, half.peak_at)
    for row in full.layers:
        assert row.bytes == row.bytes_read + row.bytes_written
        assert row.intensity == pytest.approx(row.flops / row.bytes)
