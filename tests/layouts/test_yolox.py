"""YOLOX: published figures, the table of the slimming study, decoding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.golden_files import golden, lively

from effscope.config import EvalConfig, TrainConfig
from effscope.costing.nodes import node_costs, parameters, total
from effscope.data.load import load
from effscope.detect.predict import detect
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand, stages
from effscope.layouts.zoo.catalog import layout
from effscope.layouts.zoo.yolox import SCALES, VARIANTS
from effscope.nn.build import build
from effscope.nn.fuse import deploy
from effscope.spec.graph import Graph
from effscope.spec.layout import Layout
from effscope.training.train import train

PUBLISHED = {
    "nano": (416, 0.91, 1.08), "tiny": (416, 5.06, 6.45), "s": (640, 9.0, 26.8),
    "m": (640, 25.3, 73.8), "l": (640, 54.2, 155.6), "x": (640, 99.1, 281.9),
}  # fmt: skip
"""Size -> side in px, parameters in millions, GFLOPs. Source: README of the YOLOX repository."""

NORM_PER_ELEMENT = 2
"""Factor for `norm`, which has 2 operations per element: the repository doubles the MACs of thop 0.1.1, and thop counts
2 per element of a batch norm."""

SIZE = 416
WITHIN = 0.02


def figures(model: Layout, side: int) -> tuple[float, float]:
    """Parameters in millions and GFLOPs, counted as in the YOLOX repository: batch norms not folded, and counted."""
    graph = expand(model)
    counts, _ = total(node_costs(graph.keep("decoded"), (1, 3, side, side)))
    return parameters(graph) / 1e6, (counts.conv_flops + NORM_PER_ELEMENT * counts.norm) / 1e9


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_figures(size: str) -> None:
    side, params_m, flops_g = PUBLISHED[size]
    made = figures(layout(f"yolox-{size}"), side)
    assert made[0] == pytest.approx(params_m, rel=0.004)
    assert made[1] == pytest.approx(flops_g, abs=0.006 if side == SIZE else 0.06)


ROWS = {row["variant"]: (float(row["params_m"]), float(row["flops_g"])) for row in golden("yolox_nano.csv", variant="")}
STUDY = {variant: f"yolox-nano{variant}" for variant in VARIANTS if variant} | {"base": "yolox-nano-voc"}


def test_every_row_of_the_study_has_a_model() -> None:
    assert set(ROWS) == {name.removeprefix("-") for name in STUDY} | {"base-measured"}


@pytest.mark.parametrize("row", ["dwconv", "mixconv", "fpn-dark2", "final", "base-measured"])
def test_figures_of_the_study(row: str) -> None:
    model = layout("yolox-nano-voc" if row == "base-measured" else f"yolox-nano-{row}")
    assert model.nc == 20
    params_m, flops_g = figures(model, SIZE)
    assert params_m == pytest.approx(ROWS[row][0], rel=WITHIN)
    assert flops_g == pytest.approx(ROWS[row][1], rel=WITHIN)


def test_the_study_gives_the_published_figures_of_eighty_classes_for_its_base() -> None:
    assert figures(layout("yolox-nano"), SIZE) == pytest.approx(ROWS["base"], rel=0.004)


def test_the_study_counts_less_than_a_model_without_pointwise_halves() -> None:
    """The 30 pointwise halves have 0.17 M parameters, the study's two figures differ by 0.22 M."""
    base, vanilla = (expand(layout(f"yolox-nano{v}")) for v in ("-voc", "-dwconv-vanilla"))
    halves = [n for n in base.nodes if ".pconv." in n.name and n.op == "conv2d"]
    assert len(halves) == 30
    assert not [n for n in vanilla.nodes if ".pconv." in n.name]
    removed = sum(n.args["c_in"] * n.args["c_out"] + 2 * n.args["c_out"] for n in halves)
    wider = sum((n.args["c_out"] - n.args["c_in"]) * (9 + 2) for n in halves)
    assert parameters(vanilla) == parameters(base) - removed + wider
    params_m, flops_g = figures(layout("yolox-nano-dwconv-vanilla"), SIZE)
    assert params_m - ROWS["dwconv-vanilla"][0] == pytest.approx(0.048, abs=0.001)
    assert flops_g == pytest.approx(ROWS["dwconv-vanilla"][1], rel=0.025)


def kernels(graph: Graph, layer: str) -> set[tuple[int, ...]]:
    """Kernel sides of the depthwise convolutions of a layer, one tuple per convolution in the order of its groups."""
    groups: dict[str, list[int]] = {}
    for node in graph.in_layer(layer):
        if node.op == "conv2d" and node.args["groups"] > 1:
            groups.setdefault(node.name.partition(".dconv")[0], []).append(node.args["k"][0])
    return {tuple(sides) for sides in groups.values()}


def test_kernels_of_the_final_model() -> None:
    model, graph = layout("yolox-nano-final"), expand(layout("yolox-nano-final"))
    body = [kernels(graph, layer.id) for layer in model.layers[: model.n_backbone]]
    assert body[1] == body[2] == body[5] == {(3, 5)}
    assert body[3] == body[4] == body[7] == body[8] == body[9] == body[11] == {(3, 5, 7, 9)}
    neck = set().union(*(kernels(graph, layer.id) for layer in model.layers[model.n_backbone : -1]))
    assert neck == {(7,)}
    assert kernels(graph, model.layers[-1].id) == {(5,)}


@pytest.mark.parametrize("variant", ["-fpn-dark2", "-final"])
def test_dark2_is_read_by_the_neck(variant: str) -> None:
    model = layout(f"yolox-nano{variant}")
    readers = [layer.id for layer in model.layers if "2" in layer.sources]
    assert readers == ["3", "5"]
    (joined,) = (layer for layer in model.layers if layer.sources == ("5", "4"))
    (reader,) = (layer for layer in model.layers if joined.id in layer.sources)
    assert reader.block == "Concat"
    assert model.index(reader.id) >= model.n_backbone


def test_decoding_by_hand() -> None:
    network = lively(layout("yolox-nano", 2))
    with torch.inference_mode():
        out = network(torch.rand(1, 3, 64, 96))
    decoded, (level, *_) = out["decoded"][0], out["o2m"]
    assert level.shape == (1, 4 + 1 + 2, 8, 12)
    assert decoded.shape == (1, 4 + 2, 8 * 12 + 4 * 6 + 2 * 3)
    row, column, stride = 5, 7, 8
    x, y, w, h, sure, first, second = level[0, :, row, column].tolist()
    box = [(x + column) * stride, (y + row) * stride, math.exp(w) * stride, math.exp(h) * stride]
    scores = [1 / (1 + math.exp(-sure)) / (1 + math.exp(-logit)) for logit in (first, second)]
    assert decoded[0, :, row * 12 + column].tolist() == pytest.approx(box + scores, rel=1e-4)


def test_detection_in_an_image() -> None:
    """Boxes are inside the image; the deploy form gives the same scores."""
    network = lively(layout("yolox-nano", 4))
    config = EvalConfig(imgsz=96, conf=1e-5, max_det=20)
    image = load("builtin:shapes", "val", limit=1).samples[0].image
    assert isinstance(image, np.ndarray)
    found = [dict(detect(made, [image], config))[0] for made in (network, deploy(network))]
    height, width = image.shape[:2]
    assert len(found[0].boxes) > 0
    assert (found[0].boxes >= 0).all()
    assert (found[0].boxes <= [width, height, width, height]).all()
    assert found[0].scores == pytest.approx(found[1].scores, abs=1e-5)


def test_fresh_logits_give_one_percent() -> None:
    network = build(expand(layout("yolox-nano", 4)))
    for level in range(3):
        for name in ("cls_preds", "obj_preds"):
            bias = network.get_parameter(f"model.24.{name}.{level}.bias").detach()
            assert torch.allclose(bias.sigmoid(), torch.tensor(0.01), atol=1e-6)


def test_training_this_head_is_an_error() -> None:
    network = build(expand(layout("yolox-nano", 20)))
    with pytest.raises(EffscopeError, match="cannot train this head"):
        train(network, load("builtin:shapes", "train", limit=2), TrainConfig(imgsz=64, epochs=1))


def test_stages_are_the_csp_layers() -> None:
    for name, block in (("yolox-s", "C3"), ("yolox-nano", "CSPLayer")):
        assert [s.block for s in stages(layout(name))] == [block] * 8
    assert set(SCALES) == set(PUBLISHED)


def test_mixed_kernels_need_a_depthwise() -> None:
    model = layout("yolox-nano")
    broken = model.layer("1")
    with pytest.raises(EffscopeError, match="only be mixed in a depthwise"):
        expand(model.swap([replace(broken, args=(128, (3, 5), 2, "vanilla"))]))
    with pytest.raises(EffscopeError, match="'form' must be one of dense, separable, lean, vanilla"):
        expand(model.swap([replace(broken, args=(128, (3,), 2, "sparse"))]))
