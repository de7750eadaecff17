"""The built-in models against published figures and independent counts."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from support.golden_files import Row, golden, lively
from torch.utils.flop_counter import FlopCounterMode

from effscope import api
from effscope.costing.model import cost
from effscope.costing.nodes import node_costs, parameters, total
from effscope.errors import EffscopeError
from effscope.layouts.expand import closing_conv, expand, stages
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.layouts.zoo.yolov10 import ladder
from effscope.spec.ops import shapes

EXACT = golden("exact_counts.csv")
LADDER_STEPS = {
    "base": "base", "+nms-free": "nms-free", "+cls-head": "light-head", "+downsample": "scdown", "+cib": "cib",
    "+large-kernel": "large-kernel", "+psa": "psa",
}  # fmt: skip


def test_every_golden_row_is_in_the_zoo() -> None:
    assert {row["model"] for row in EXACT} == {f"yolov8{s}" for s in "nsmlx"} | {f"yolov10{s}" for s in "nsmblx"}
    assert {row["model"] for row in EXACT} <= set(ZOO)


@pytest.mark.parametrize("row", EXACT, ids=lambda row: row["model"])
def test_exact_counts(row: Row) -> None:
    result = api.cost(row["model"])
    assert result.params == int(row["params_train"])
    assert result.params_one_head == int(row["params_one_head"])
    assert result.params_deploy == int(row["params_deploy"])
    assert result.conv_flops == int(row["conv_flops"])


@pytest.mark.parametrize(
    "row",
    [r for family in ("yolov8", "yolov10") for r in golden("yolo_published.csv", model=family)],
    ids=lambda row: row["model"],
)
def test_published_figures_hold_after_rounding(row: Row) -> None:
    result = api.cost(row["model"])
    assert round(result.params_deploy / 1e6, 1) == float(row["params_m"])
    if row["model"] == "yolov8l":  # 165.149 is printed as 165.2
        assert result.conv_flops / 1e9 == pytest.approx(float(row["flops_g"]), abs=0.06)
    else:
        assert round(result.conv_flops / 1e9, 1) == float(row["flops_g"])


@pytest.mark.parametrize("row", golden("ladder.csv"), ids=lambda row: row["scale"] + row["step"])
def test_exact_counts_of_the_ladder(row: Row) -> None:
    """Every step, counted with one head, as papers do."""
    result = cost(ladder(row["scale"])[LADDER_STEPS[row["step"]]])
    if row["exact_params"]:
        assert result.params_one_head == int(row["exact_params"])
        assert result.conv_flops == int(row["exact_conv_flops"])
    if row["exact_params_deploy"]:
        assert result.params_deploy == int(row["exact_params_deploy"])


@pytest.mark.parametrize("row", golden("yolov10_layouts.csv"), ids=lambda row: row["scale"])
def test_yolov10_has_the_blocks_of_the_release(row: Row) -> None:
    model = layout(f"yolov10{row['scale']}")
    swapped = [s for s in stages(model) if s.block == "C2fCIB"]
    assert " ".join(str(s.number) for s in swapped) == row["cib_stages"]
    assert " ".join(str(s.index) for s in swapped) == row["cib_layers"]
    assert {model.layer(s.id).args[1:] for s in swapped} == {(True, True) if row["lk"] == "yes" else (True,)}
    assert (model.scale.depth, model.scale.width, model.scale.max_channels) == tuple(
        float(row[k]) for k in ("depth", "width", "max_channels")
    )
    assert [n for n, la in enumerate(model.layers) if la.block == "SCDown"] == [5, 7, 20]
    assert [n for n, la in enumerate(model.layers) if la.block == "PSA"] == [10]


@pytest.mark.parametrize("row", golden("head_split.csv"), ids=lambda row: row["tower"])
def test_head_split_of_yolov8s(row: Row) -> None:
    tower = {"class": "model.22.cv3.", "box": "model.22.cv2."}[row["tower"]]
    rows = node_costs(expand(layout("yolov8s")), (1, 3, 640, 640))
    counts, params = total(r for r in rows if r.node.name.startswith(tower))
    assert params == int(row["params_exact"])
    assert round(counts.conv_flops / 1e9, 4) == float(row["conv_gflops_exact"])


def test_light_class_head_keeps_the_box_tower() -> None:
    light = expand(move(layout("yolov8s"), "light-head"))
    rows = node_costs(light, (1, 3, 640, 640))
    box, params = total(r for r in rows if r.node.name.startswith("model.22.cv2."))
    assert (params, round(box.conv_flops / 1e9, 4)) == (639936, 2.3396)


@pytest.mark.parametrize("name", [f"yolov8{s}" for s in "nsmlx"])
def test_stages_are_the_published_ones(name: str) -> None:
    found = stages(layout(name))
    assert [(s.number, s.index) for s in found] == list(enumerate((2, 4, 6, 8, 12, 15, 18, 21), 1))
    graph = expand(layout(name))
    assert [closing_conv(graph, s).name for s in found] == [f"model.{s.index}.cv2.conv" for s in found]
    for s in found:
        blocks = {n.name.split(".")[3] for n in graph.nodes if n.name.startswith(f"model.{s.index}.m.")}
        last = max(map(int, blocks))
        assert closing_conv(graph, s, "block").name == f"model.{s.index}.m.{last}.cv2.conv"


MOVED: dict[str, tuple[str, ...]] = {
    "yolov8n": (),
    "cib": ("light-head", "cib"),
    "cib-lk, scdown": ("cib-lk", "scdown"),
}


@pytest.mark.parametrize("moves", MOVED.values(), ids=MOVED)
def test_every_node_of_the_built_network_has_the_predicted_shape_and_flops(moves: tuple[str, ...]) -> None:
    model = layout("yolov8n", 5)
    for name in moves:
        model = move(model, name)
    network = lively(model)
    seen: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name in {node.module for node in network.spec.nodes if node.op not in ("input", "split")}:
        hook = seen[name]
        network.get_submodule(name).register_forward_hook(lambda m, i, out, hook=hook: hook.append(tuple(out.shape)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(2, 3, 64, 96))
    rows = node_costs(network.spec, (2, 3, 64, 96))
    predicted: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for node, shape in shapes(network.spec, (2, 3, 64, 96)).items():
        if network.spec.by_name()[node].op not in ("input", "split"):
            predicted[node.split("@")[0]].append(shape)
    assert predicted == seen
    assert counter.get_total_flops() == total(rows)[0].conv_flops
    assert parameters(network.spec) == sum(p.numel() for p in network.parameters())


def test_class_count_changes_only_the_class_towers() -> None:
    a, b = (expand(layout("yolov8n", nc)) for nc in (80, 3))
    different = {x.module.rsplit(".", 1)[0] for x, y in zip(a.nodes, b.nodes, strict=True) if x != y}
    assert all(name.startswith("model.22") and "cv2" not in name for name in different)


def test_unknown_model_names_the_choices() -> None:
    with pytest.raises(EffscopeError, match=r"unknown model 'yolov8z': choose one of yolov8n"):
        layout("yolov8z")
