"""Layouts: what they refuse, what a swap keeps, and JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import MOVES, move
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

CHAIN = (
    Layer("a", "Conv", (16, 3, 2), (IMAGE,), origin="a"),
    Layer("b", "C2f", (16, True), ("a",), 3, origin="b"),
    Layer("c", "Concat", (1,), ("a", "b")),
)
MADE = Layout("made", CHAIN, Scale(), 3, 3)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Layer("a", "Conv", (16,), ("z",)),), "layer 'a' reads 'z', which is not an earlier layer"),
        ((Layer("a", "Conv", (16,), ("a",)),), "reads 'a'"),
        ((Layer("a", "Conv", (16,), ("b",)), Layer("b", "Conv", (16,), (IMAGE,))), "reads 'b'"),
        ((Layer("a", "Conv", (16,), (IMAGE,)), Layer("a", "Conv", (16,), ("a",))), "two layers have the id 'a'"),
        ((Layer(IMAGE, "Conv", (16,), (IMAGE,)),), "id 'image'"),
    ],
)
def test_sources_come_before_their_readers_and_ids_are_unique(layers: tuple[Layer, ...], message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        Layout("made", layers, Scale(), 3, 1)


def test_position_and_layer_by_id() -> None:
    assert [MADE.index(k) for k in "abc"] == [0, 1, 2]
    assert MADE.layer("b") is CHAIN[1]
    for ask in (MADE.index, MADE.layer):
        with pytest.raises(EffscopeError, match="unknown layer 'z': choose one of a, b, c"):
            ask("z")


def test_swap_replaces_the_layers_with_the_same_ids() -> None:
    new = replace(CHAIN[1], block="C2fCIB")
    swapped = MADE.swap([new])
    assert swapped.layers == (CHAIN[0], new, CHAIN[2])
    assert MADE.layers == CHAIN
    assert MADE.swap([]) == MADE
    assert swapped.swap([CHAIN[1]]) == MADE
    with pytest.raises(EffscopeError, match="unknown layer 'z'"):
        MADE.swap([replace(new, id="z")])
    with pytest.raises(EffscopeError, match="reads 'c'"):
        MADE.swap([replace(CHAIN[0], sources=("c",))])


def everything() -> list[Layout]:
    models = [layout(name, nc) for name in ZOO for nc in (1, 80)] + [MADE]
    return models + [move(layout("yolov8n"), name) for name in MOVES]


@pytest.mark.parametrize("model", everything(), ids=lambda m: m.name)
def test_a_layout_is_the_same_after_json(model: Layout) -> None:
    back = Layout.from_dict(json.loads(json.dumps(model.to_dict())))
    assert back == model
    assert back.digest() == model.digest()
    assert hash(back) == hash(model)


def test_digest_depends_on_everything_but_the_name() -> None:
    names = [name for name in ZOO if name != "yolox-nano-voc"]  # with 3 classes it is yolox-nano
    models = [layout(name, nc) for name in names for nc in (3, 80)] + [move(layout("yolov8n"), name) for name in MOVES]
    assert len({m.digest() for m in models}) == len(models)
    assert replace(MADE, name="other").digest() == MADE.digest()
    assert all(len(m.digest()) == 16 for m in models)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"layers": []},
        {**MADE.to_dict(), "extra": 1},
        {**MADE.to_dict(), "layers": [{"id": "a"}]},
        {**MADE.to_dict(), "layers": 3},
        {**MADE.to_dict(), "layers": ["abc"]},
        {**MADE.to_dict(), "scale": {"colour": 1}},
        {**MADE.to_dict(), "scale": None},
        {k: v for k, v in MADE.to_dict().items() if k != "nc"},
    ],
    ids=str,
)
def test_data_that_is_not_a_layout_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(EffscopeError):
        Layout.from_dict(broken)


@pytest.mark.parametrize("broken", [None, 3, [], "layout"])
def test_json_that_is_not_an_object_is_refused(broken: Any) -> None:
    with pytest.raises(EffscopeError):
        Layout.from_dict(broken)


@given(st.integers(1, 4096), st.floats(0.05, 2.0), st.sampled_from([256, 512, 1024, 1 << 30]))
def test_channels_by_the_published_rule(nominal: int, width: float, cap: int) -> None:
    """ceil(min(c, max_channels) * width / 8) * 8, as in Ultralytics' `make_divisible`."""
    found = Scale("", 1.0, width, cap).channels(nominal)
    assert found == math.ceil(min(nominal, cap) * width / 8) * 8
    assert found % 8 == 0
    assert found >= min(nominal, cap) * width


@given(st.integers(0, 50), st.floats(0.01, 3.0))
def test_repeats_by_the_published_rule(nominal: int, depth: float) -> None:
    expected = max(round(nominal * depth), 1) if nominal > 1 else nominal
    assert Scale("", depth).repeats(nominal) == expected


def test_expand_names_the_layer_that_does_not_fit() -> None:
    cases = {
        "unknown block 'Magic'": replace(CHAIN[1], block="Magic"),
        r"layer 'b' \(C2f\): C2f takes the arguments": replace(CHAIN[1], args=(16, True, 1, 0.5, 2)),
        r"layer 'c' \(Concat\): Concat cannot be repeated": replace(CHAIN[2], repeats=2),
        "layer 'a'.*repeats must be": replace(CHAIN[0], repeats=0),
        r"layer 'c' \(Concat\): .*strides": replace(CHAIN[2], sources=("a", "b", "d")),
        "layer 'b'": replace(CHAIN[1], args=()),
    }
    more = Layer("d", "Conv", (8, 3, 2), ("a",))
    for message, layer in cases.items():
        layers = [layer if old.id == layer.id else old for old in (*CHAIN[:2], more, CHAIN[2])]
        with pytest.raises(EffscopeError, match=message):
            expand(Layout("made", tuple(layers), Scale(), 3, 3))


def test_a_layout_without_a_head_shows_its_last_map() -> None:
    graph = expand(MADE)
    assert dict(graph.views) == {"features": ("model.2.cat",)}
    assert [s.id for s in stages(MADE)] == ["b"]
