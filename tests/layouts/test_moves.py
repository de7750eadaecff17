"""Moves: what they keep in every model of the zoo, the layers that they choose, and what they refuse."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.blocks.table import BLOCKS
from effscope.layouts.expand import expand, stages
from effscope.layouts.moves import DECOUPLED_FROM, MOVES, move, places, swap_stage
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.results import HEAD
from effscope.spec.graph import Graph
from effscope.spec.layout import Layout
from effscope.spec.ops import shapes

STAGES = ["2", "4", "6", "8", "12", "15", "18", "21"]
TAKEN = {
    "cib": STAGES, "cib-lk": STAGES, "light-head": ["22"], "nms-free": ["22"], "psa": ["9"], "scdown": ["5", "7", "19"],
    "slim-75": STAGES, "slim-50": STAGES, "shallow": STAGES, "ghost": ["1", "3", "5", "7", "16", "19"],
}  # fmt: skip
"""Layers of YOLOv8 that a move changes by default. The moves of YOLOv10 take those of the released models
(golden/yolov10_layouts.csv), the others every stage or every convolution before one."""

AGAIN = {"slim-75", "slim-50", "shallow"}
"""Moves that can change a layer a second time."""

REPLACING = [name for name in MOVES if name != "psa"]
"""Moves that replace one layer by one layer."""

SMALLER = [name for name in MOVES if name not in ("nms-free", "psa")]
YOLOV8 = [f"yolov8{scale}" for scale in "nsmlx"]
SMALLEST = [name for name in ZOO if "n" in name.removeprefix("yolov")[:4] or not re.search(r"\d[a-z]", name)]
"""One size of each family: the rules do not depend on the size."""

IMAGE = (1, 3, 128, 192)


def layer_outputs(model: Layout) -> dict[str, object]:
    """Output shape of each layer; views, strides and box format."""
    graph = expand(model)
    known = shapes(graph, IMAGE)
    last = {node.layer: known[node.name] for node in graph.nodes if node.layer != "22"}
    views = {view: [known[name] for name in names] for view, names in graph.views.items()}
    return {**last, **views, "strides": graph.info["strides"], "format": graph.info["box_format"]}


def changed(before: Layout, after: Layout) -> list[str]:
    return [a.id for a, b in zip(before.layers, after.layers, strict=True) if a != b]


def taken(base: Layout, name: str) -> list[str]:
    """`TAKEN`, without the stage that is too narrow for three quarters of its width: 16 hidden channels."""
    too_narrow = name == "slim-75" and base.name == "yolov8n"
    return TAKEN[name][1:] if too_narrow else TAKEN[name]


def test_every_move_is_tested() -> None:
    assert set(TAKEN) == set(MOVES)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("model", SMALLEST)
def test_a_move_keeps_the_maps_of_every_model_or_has_no_layer_to_change(model: str, name: str) -> None:
    base = layout(model, 7)
    try:
        moved = move(base, name)
    except EffscopeError as e:
        assert "has no layer to apply it to" in str(e)
        assert not (places(base, name) if MOVES[name].default is None else MOVES[name].default(base))
        return
    kept = {la.id: la.origin for la in moved.layers if la.id in {b.id for b in base.layers}}
    assert kept == {la.id: la.origin for la in base.layers}
    assert all(la.origin is None for la in moved.layers if la.id not in kept)
    image = (1, 3, 256, 192)
    before, after = expand(base), expand(moved)
    for view in set(before.views) & set(after.views):
        a, b = ([shapes(g, image)[n] for n in g.views[view]] for g in (before, after))
        assert a == b
    assert before.info["strides"] == after.info["strides"]


@pytest.mark.parametrize("name", REPLACING)
@pytest.mark.parametrize("model", YOLOV8)
def test_a_move_keeps_ids_shapes_strides_and_origin(model: str, name: str) -> None:
    base = layout(model, 7)
    moved = move(base, name)
    assert changed(base, moved) == taken(base, name)
    assert [la.id for la in moved.layers] == [la.id for la in base.layers]
    assert [la.origin for la in moved.layers] == [la.origin for la in base.layers] == [la.id for la in base.layers]
    assert [la.sources for la in moved.layers] == [la.sources for la in base.layers]
    fewer = {la.id for la in base.layers if moved.layer(la.id).repeats != la.repeats}
    assert fewer == (set(STAGES) if name == "shallow" else set())
    assert (moved.scale, moved.nc, moved.n_backbone, moved.name) == (base.scale, 7, base.n_backbone, base.name)
    if name != "nms-free":
        assert layer_outputs(moved) == layer_outputs(base)
    assert [(s.number, s.id) for s in stages(moved)] == [(s.number, s.id) for s in stages(base)]
    assert base == layout(model, 7)
    if name in SMALLER:
        assert cost(moved, 128).params < cost(base, 128).params
        assert cost(moved, 128).macs < cost(base, 128).macs


def test_a_second_head_adds_parameters_but_no_inference_cost() -> None:
    base, moved = (cost(m) for m in (layout("yolov8s"), move(layout("yolov8s"), "nms-free")))
    assert moved.params_one_head == base.params_one_head == base.params < moved.params
    assert moved.conv_flops == base.conv_flops
    assert expand(move(layout("yolov8s"), "nms-free")).info["box_format"] == "xyxy"


def test_attention_follows_the_pooling_and_feeds_its_readers() -> None:
    base = layout("yolov8n")
    moved = move(base, "psa")
    assert [la.id for la in moved.layers] == [*map(str, range(10)), "9-psa", *map(str, range(10, 23))]
    assert moved.layer("9-psa").sources == ("9",)
    assert moved.layer("9-psa").origin is None
    assert [la.id for la in moved.layers if "9" in la.sources] == ["9-psa"]
    assert [la.id for la in moved.layers if "9-psa" in la.sources] == [la.id for la in base.layers if "9" in la.sources]
    assert moved.n_backbone == base.n_backbone + 1
    with pytest.raises(EffscopeError, match="two layers have the id '9-psa'"):
        move(moved, "psa", ["9"])


@pytest.mark.parametrize("name", REPLACING)
@pytest.mark.parametrize("model", YOLOV8)
def test_a_move_changes_only_the_named_layers_and_only_once(model: str, name: str) -> None:
    base = layout(model)
    for layer_id in taken(base, name):
        moved = move(base, name, [layer_id])
        assert changed(base, moved) == [layer_id]
        if name not in AGAIN:
            assert move(moved, name, [layer_id]) == moved
        graphs: list[Graph] = [expand(base), expand(moved)]
        a, b = ([(n.name, n.op, n.args, n.params) for n in g.nodes if n.layer != layer_id] for g in graphs)
        assert a == b
    assert move(base, name, taken(base, name)) == move(base, name)


def test_moves_in_any_order_give_one_layout() -> None:
    results = set()
    for order in permutations(["cib", "light-head", "scdown"]):
        model = layout("yolov8n")
        for name in order:
            model = move(model, name)
        results.add(model)
    assert len(results) == 1


@pytest.mark.parametrize("model", YOLOV8)
def test_scdown_chooses_downsampling_layers_by_their_nominal_width(model: str) -> None:
    """The rule is in nominal channels, so it is the same at all scales."""
    base = layout(model)
    late = [la.id for la in base.layers if la.block == "Conv" and la.args[0] >= DECOUPLED_FROM and la.args[2] == 2]
    assert changed(base, move(base, "scdown")) == late == ["5", "7", "19"]


def test_cib_is_as_released() -> None:
    """With residuals, also in the neck where C2f has none; the large kernel only with `cib-lk`."""
    for name, args in {"cib": (True,), "cib-lk": (True, True)}.items():
        moved = move(layout("yolov8n"), name)
        for layer_id in STAGES:
            assert moved.layer(layer_id).block == "C2fCIB"
            assert moved.layer(layer_id).args[1:] == args
            assert moved.layer(layer_id).args[0] == layout("yolov8n").layer(layer_id).args[0]


def test_cib_can_become_cib_lk_and_back() -> None:
    base = layout("yolov8n")
    assert move(move(base, "cib-lk"), "cib") == move(base, "cib")
    assert move(move(base, "cib"), "cib-lk") == move(base, "cib-lk")


@pytest.mark.parametrize("number", range(1, 9))
def test_swap_stage_is_the_move_on_that_layer(number: int) -> None:
    base = layout("yolov8s")
    assert swap_stage(base, number, "cib") == move(base, "cib", [STAGES[number - 1]])
    assert stages(swap_stage(base, number, "cib"))[number - 1].block == "C2fCIB"


@pytest.mark.parametrize("number", [HEAD, 9, -1])
def test_unknown_stage(number: int) -> None:
    with pytest.raises(EffscopeError, match=f"unknown stage for move cib '{number}': choose one of 1, 2, 3, 4, 5"):
        swap_stage(layout("yolov8n"), number, "cib")


def test_where_a_search_applies_moves() -> None:
    """Stages by number; the downsampling convolution that leads to a stage, also through a concatenation; the head."""
    base = layout("yolov8n")
    assert places(base, "cib") == dict(enumerate(STAGES, 1))
    assert places(base, "ghost") == {1: "1", 2: "3", 3: "5", 4: "7", 7: "16", 8: "19"}
    assert places(base, "light-head") == {HEAD: "22"}
    assert places(move(base, "cib", ["21", "8"]), "cib-lk") == dict(
        zip((1, 2, 3, 5, 6, 7), ("2", "4", "6", "12", "15", "18"), strict=True)
    )
    assert places(move(base, "light-head"), "light-head") == {}
    for name in ("psa", "nonsense"):
        with pytest.raises(EffscopeError, match=f"unknown `moves` '{name}': choose one of cib, cib-lk, slim-75"):
            places(base, name)


@settings(max_examples=40, deadline=None)
@given(
    model=st.sampled_from([name for name in ZOO if re.match(r"yolov?(5|8|9|10|11|12|26)", name)]),
    share=st.sampled_from(["slim-75", "slim-50"]),
    nc=st.integers(1, 90),
)
def test_a_slim_stage_has_the_nearest_width_that_kernels_like(model: str, share: str, nc: int) -> None:
    """Hidden widths are multiples of 8 (of 32 for area attention), smaller than before, within half a step of the
    share; everything outside the stage stays."""
    base = layout(model, nc)
    for layer_id in places(base, share).values():
        widths = [width(m, layer_id) for m in (base, move(base, share, [layer_id]))]
        step = 32 if base.layer(layer_id).block == "A2C2f" else 8
        assert widths[1] % step == 0
        assert widths[1] < widths[0]
        assert abs(widths[1] - int(share[-2:]) / 100 * widths[0]) <= max(step / 2, step - widths[0] / 2)


def width(model: Layout, layer_id: str) -> int:
    """Output channels of the first convolution of the last inner part: the hidden width of every block of `WIDTH`."""
    layer, n = model.layer(layer_id), model.index(layer_id)
    convs = {node.name: node.args["c_out"] for node in expand(model).in_layer(layer_id) if node.op == "conv2d"}
    halves = {"C2f": 2, "C3k2": 2}.get(layer.block, 1)
    first = {"ELAN1": "cv2.conv", "RepNCSPELAN4": "cv2.1.conv"}.get(layer.block, "cv1.conv")
    return int(convs[f"model.{n}.{first}"]) // halves


@pytest.mark.parametrize("model", YOLOV8)
def test_a_shallow_stage_has_one_block_less_until_none_is_left(model: str) -> None:
    base = layout(model)
    for layer_id in STAGES:
        moved, before = base, blocks(base, layer_id)
        for left in range(before - 1, -1, -1):
            moved = move(moved, "shallow", [layer_id])
            assert blocks(moved, layer_id) == left
        with pytest.raises(EffscopeError, match=f"layer '{layer_id}' has no inner block that can go"):
            move(moved, "shallow", [layer_id])


def blocks(model: Layout, layer_id: str) -> int:
    n = model.index(layer_id)
    names = [re.match(rf"model\.{n}\.m\.(\d+)", node.name) for node in expand(model).in_layer(layer_id)]
    return len({found.group(1) for found in names if found})


def test_unknown_move_and_layer() -> None:
    with pytest.raises(EffscopeError, match=f"unknown move 'prune': choose one of {', '.join(MOVES)}"):
        move(layout("yolov8n"), "prune")
    for name in MOVES:
        with pytest.raises(EffscopeError, match="unknown layer '99': choose one of 0, 1"):
            move(layout("yolov8n"), name, ["99"])


WRONG = {
    "cib": ("0", "9", "10", "11", "22"), "cib-lk": ("0", "22"), "scdown": ("2", "9", "11", "22"),
    "light-head": ("0", "2", "9", "11"), "nms-free": ("0", "9"), "psa": ("11", "22"), "slim-50": ("0", "9", "22"),
    "slim-75": ("1", "2", "11"), "shallow": ("0", "9", "11"), "ghost": ("2", "9", "22"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "layer_id"), [(name, layer_id) for name, ids in WRONG.items() for layer_id in ids])
def test_a_layer_of_another_kind_is_refused(name: str, layer_id: str) -> None:
    with pytest.raises(EffscopeError, match=f"layer '{layer_id}'"):
        move(layout("yolov8n"), name, [layer_id])


def test_scdown_of_a_convolution_without_stride_keeps_the_shape_or_is_refused() -> None:
    """`Conv` and `SCDown` have different defaults for kernel and stride."""
    base = layout("yolov8n")
    bare = base.swap([replace(base.layer("19"), args=(512,), repeats=1)])
    try:
        moved = move(bare, "scdown", ["19"])
    except EffscopeError:
        return
    before, after = (shapes(expand(_until(m, 20)), IMAGE) for m in (bare, moved))
    assert list(before.values())[-1] == list(after.values())[-1]


def _until(model: Layout, n: int) -> Layout:
    return replace(model, layers=model.layers[:n])


def test_a_model_without_a_layer_to_change_is_an_error() -> None:
    bare = _until(layout("yolov8n"), 2)
    for name in MOVES:
        with pytest.raises(EffscopeError, match="has no layer to apply it to"):
            move(bare, name)


def test_the_table_has_all_blocks_that_moves_create() -> None:
    made = {la.block for name in MOVES for la in move(layout("yolov8n"), name).layers}
    assert made <= set(BLOCKS)
