"""Stages of a graph without a layout: groups of layers with equal map sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torchvision

from effscope.layouts.expand import closing_conv, expand, stages
from effscope.layouts.zoo.catalog import layout
from effscope.spec.graph import INPUT, Graph, Node
from effscope.spec.resolution import resolutions
from effscope.tracing.importer import import_module

IMAGE = (1, 3, 224, 224)


def conv(name: str, before: str, layer: str, c_in: int, c_out: int, **args: Any) -> Node:
    sizes = {"c_in": c_in, "c_out": c_out, "k": (3, 3), "s": (1, 1), "p": (1, 1), "d": (1, 1), "groups": 1}
    return Node(
        name, "conv2d", (before,), {**sizes, "bias": False, "init": "default", "bias_init": None, **args}, layer
    )


def pooled(name: str, before: str, layer: str) -> Node:
    return Node(name, "avgpool", (before,), {"k": 2, "s": 2, "p": 0, "ceil": False}, layer)


def chain(*nodes: Node) -> Graph:
    return Graph((Node(INPUT, "input", args={"c": 3}), *nodes), {"outputs": (nodes[-1].name,)})


def test_resnet_has_its_four_stages() -> None:
    imported = import_module(torchvision.models.resnet18(weights=None), IMAGE, "r")
    found = resolutions(imported.graph, IMAGE)
    assert [(s.side[0], s.closing.name) for s in found] == [
        (56, "layer1.1.conv2"), (28, "layer2.1.conv2"), (14, "layer3.1.conv2"), (7, "layer4.1.conv2")
    ]  # fmt: skip
    assert found[1].layers == ("layer2.0", "layer2.1")


def test_transitions_close_the_stages_of_densenet() -> None:
    imported = import_module(torchvision.models.densenet121(weights=None), IMAGE, "d")
    names = [stage.closing.name for stage in resolutions(imported.graph, IMAGE)]
    assert names[:3] == [f"features.transition{k}.conv" for k in (1, 2, 3)]


def test_groups_of_equal_map_sizes_are_the_stages_of_yolov8() -> None:
    """They are YOLOv8's eight C2f stages; only the deepest one closes with the SPPF that follows it."""
    made = layout("yolov8n")
    graph = expand(made)
    found = resolutions(graph, (1, 3, 640, 640))
    assert [stage.side[0] for stage in found] == [160, 80, 40, 20, 40, 80, 40, 20]
    own = [closing_conv(graph, stage, "stage").name for stage in stages(made)]
    assert own[3] == "model.8.cv2.conv"
    own[3] = "model.9.cv2.conv"
    assert [stage.closing.name for stage in found] == own


def test_the_image_size_changes_the_sides_but_not_the_stages() -> None:
    graph = expand(layout("yolov8n"))
    small, large = (resolutions(graph, (1, 3, side, side)) for side in (320, 640))
    assert [s.closing for s in small] == [s.closing for s in large]
    assert [2 * s.side[0] for s in small] == [s.side[0] for s in large]


def test_depthwise_and_pooled_convolutions_do_not_close_a_stage() -> None:
    graph = chain(
        conv("a", INPUT, "1", 3, 8), conv("b", "a", "2", 8, 8), conv("dw", "b", "2", 8, 8, groups=8),
        Node("gap", "adaptive_avgpool", ("dw",), {"size": (1, 1)}, "2"),
        conv("gate", "gap", "2", 8, 8, k=(1, 1), p=(0, 0)),
    )  # fmt: skip
    (stage,) = resolutions(graph, (1, 3, 16, 16))
    assert (stage.number, stage.side, stage.closing.name) == (1, (16, 16), "b")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_convolution_is_a_stem_and_not_a_stage(n: int) -> None:
    nodes = [conv("stem", INPUT, "stem", 3, 8), pooled("pool", "stem", "pool")]
    for k in range(n):
        nodes.append(conv(f"c{k}", nodes[-1].name, f"l{k}", 8, 8))
    found = resolutions(chain(*nodes), (1, 3, 16, 16))
    assert [s.closing.name for s in found] == ([] if n == 1 else [f"c{n - 1}"])
