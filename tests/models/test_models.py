"""`open_model`: zoo names, modules, and files with a known or an unknown architecture; what each kind can do."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import foreign_class, saved
from torch import nn

from effscope import api
from effscope.checkpoint.identify.by_tensors import recognise, same_model
from effscope.checkpoint.identify.by_tree import layout_of
from effscope.checkpoint.identify.tensors_only import tensor_graph
from effscope.checkpoint.read import read_checkpoint
from effscope.costing.model import cost
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.models.open import open_model
from effscope.models.opened import LayoutModel, TensorFile, TracedModel
from effscope.nn.build import build
from effscope.results import CostResult, TensorsResult

foreign = cache(foreign_class)
"""One class for each name, as pickle requires."""

IMAGES = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(3))


def conv_unit(name: str, c_in: int, c_out: int, k: int = 1, s: int = 1, groups: int = 1, act: bool = True) -> nn.Module:
    """A conv unit of an unknown class."""
    unit: Any = foreign(f"fork.nn.{name}")()
    unit.c = nn.Conv2d(c_in, c_out, k, s, k // 2, groups=groups, bias=False)
    unit.bn = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
    unit.act = nn.SiLU() if act else nn.Identity()
    return unit  # type: ignore[no-any-return]


def inverted(c: int, wide: int) -> nn.Module:
    """An inverted residual of an unknown class."""
    block: Any = foreign("fork.nn.MyBlock")()
    block.residual = True
    block.layers = nn.Sequential(
        conv_unit("my_conv", c, wide), conv_unit("my_conv", wide, wide, 3, groups=wide), nn.Conv2d(wide, c, 1),
        nn.BatchNorm2d(c),
    )  # fmt: skip
    return block  # type: ignore[no-any-return]


def tower(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(conv_unit("my_conv", c_in, 8), nn.Conv2d(8, c_out, 1))


def fork(nc: int = 2) -> tuple[nn.Module, list[type]]:
    """A detector of a fork of Ultralytics, with its own classes and its own head."""
    head: Any = foreign("fork.nn.Detect")()
    head.nc, head.nl, head.reg_max = nc, 2, 16
    head.stride = torch.tensor([2.0, 4.0])
    head.cv2 = nn.ModuleList([tower(8, 64), tower(12, 64)])
    head.cv3 = nn.ModuleList([tower(8, nc), tower(12, nc)])
    head.dfl = foreign("fork.nn.DFL")()
    head.dfl.conv = nn.Conv2d(16, 1, 1, bias=False)
    rows: list[Any] = [conv_unit("my_conv", 3, 8, 3, 2), inverted(8, 24), conv_unit("my_conv", 8, 12, 3, 2), head]
    for i, (row, source) in enumerate(zip(rows, (-1, -1, -1, [1, 2]), strict=True)):
        row.i, row.f = i, source
    model: Any = foreign("ultralytics.nn.tasks.DetectionModel")()
    model.model = nn.Sequential(*rows)
    model.names = {i: f"kind {i}" for i in range(nc)}
    classes = {type(m) for m in model.modules() if type(m).__module__.startswith(("fork", "ultralytics"))}
    return model, sorted(classes, key=lambda c: c.__name__)


def written(folder: Path, model: nn.Module, classes: list[type]) -> Path:
    path = folder / "best.pt"
    path.write_bytes(saved({"model": model, "version": "8.1.4"}, tuple(classes)))
    return path


def test_a_fork_with_its_own_classes_is_counted_ranked_and_run(tmp_path: Path) -> None:
    model, classes = fork()
    path = written(tmp_path, model, classes)
    opened = open_model(str(path))
    assert [la.block for la in opened.layout.layers] == ["Chain", "Chain", "Chain", "ChainDetect"]
    counted = api.cost(str(path), 64)
    assert isinstance(counted, CostResult)
    assert counted.params == sum(p.numel() for p in model.parameters())
    body: Any = model.model
    with torch.no_grad():
        first = body[0].eval().c(IMAGES)
        network = opened.network().eval()
        own = network.model["0"](IMAGES)[0]
    expected = torch.nn.functional.silu(body[0].bn(first))
    assert torch.allclose(own, expected, atol=1e-6)
    assert network(IMAGES)["decoded"][0].shape[1] == 4 + 2
    ranked = api.rank(str(path))
    assert [row.layer for row in ranked.stages] == ["model.1.layers.2"]
    assert opened.classes == ("kind 0", "kind 1")


def test_the_layout_comes_from_the_module_tree_and_not_from_the_yaml_in_the_file(tmp_path: Path) -> None:
    model, classes = fork()
    model.yaml = {"nc": 80, "backbone": [[-1, 1, "Conv", [999, 3, 2]]], "head": []}  # type: ignore[assignment]
    assert cost(layout_of(read_checkpoint(written(tmp_path, model, classes))), 64).params < 9999


def test_a_model_without_a_layout_is_counted_and_ranked_and_says_why(tmp_path: Path) -> None:
    model, classes = fork()
    body: Any = model.model
    body[1].pool = nn.AdaptiveAvgPool2d(1)
    path = written(tmp_path, model, classes)
    opened = open_model(str(path))
    assert isinstance(opened, TensorFile)
    counted = api.cost(str(path))
    assert isinstance(counted, TensorsResult)
    assert counted.params == sum(p.numel() for p in model.parameters()) == sum(row.params for row in counted.layers)
    assert counted.to_dict()["macs"] is None
    assert counted.uncounted
    ranked = api.rank(str(path))
    assert {row.layer for row in ranked.stages} == {
        name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)
    }
    for action in (opened.network, lambda: opened.layout):
        with pytest.raises(EffscopeError, match=r"best can only be counted and ranked: .*model.1.pool is a Adaptive"):
            action()
    with pytest.raises(EffscopeError, match="needs a layout"):
        api.rank(str(path), at="block")


def test_folding_without_an_architecture_equals_folding_with_it(tmp_path: Path) -> None:
    """The same weights ranked with and without their architecture."""
    network = build(expand(layout("yolov8n", 3)), seed=4)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.uniform_(0.1, 2.0)
    state = OrderedDict((f"net.{key}", value) for key, value in network.state_dict().items())
    state["net.extra.weight"] = torch.rand(3, 3, 1, 1)
    torch.save(state, tmp_path / "odd.pt")
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    unknown = {row.layer: row for row in api.rank(str(tmp_path / "odd.pt"), at="all").stages}
    known = {row.layer: row for row in api.rank(str(tmp_path / "plain.pt"), at="all").stages}

    for name, row in known.items():
        assert (row.rank, row.shape) == (unknown[f"net.{name}"].rank, unknown[f"net.{name}"].shape)


def test_parameters_of_a_tensor_graph_exclude_running_statistics() -> None:
    state = {
        "a.weight": torch.zeros(4, 3, 3, 3), "b.weight": torch.ones(4), "b.bias": torch.ones(4),
        "b.running_mean": torch.ones(4), "b.running_var": torch.ones(4), "b.num_batches_tracked": torch.tensor(1),
        "fc.weight": torch.zeros(5, 4), "fc.bias": torch.zeros(5), "token": torch.zeros(1, 1, 7),
        "index": torch.zeros(3, dtype=torch.int64),
    }  # fmt: skip
    graph = tensor_graph(state)
    assert {n.op for n in graph.nodes} == {"conv2d", "batchnorm", "linear", "opaque"}
    from effscope.costing.nodes import parameters

    assert parameters(graph) == 4 * 27 + 8 + 25 + 7


@pytest.mark.parametrize(
    "name", ["yolov8n", "yolov10s", "yolov5n", "yolov9t", "yolo11n", "yolo12n", "yolo26n", "yolov6n"]
)
def test_a_state_dict_is_recognised_by_names_and_shapes(name: str) -> None:
    base = layout(name, 7)
    state = build(expand(base)).state_dict()
    found = recognise(state)
    assert found is not None
    assert same_model(found, base)
    assert found.nc == 7
    del state[next(iter(state))]
    assert recognise(state) is None


def test_models_after_moves_are_recognised() -> None:
    base = layout("yolov8n", 3)
    for names in (["light-head", "cib"], ["cib-lk"], ["scdown"], ["nms-free"]):
        moved = base
        for name in names:
            moved = move(moved, name)
        found = recognise(build(expand(moved)).state_dict())
        assert found is not None
        assert same_model(found, moved), names


def test_zoo_names_and_aliases() -> None:
    assert open_model("yolov5nu").layout == ZOO["yolov5n"](80)
    assert open_model("yolov8n").state is None
    with pytest.raises(EffscopeError, match="did you mean the built-in yolov8n"):
        open_model("yolov8nn")


def test_the_three_kinds_have_one_surface(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "odd.pt")
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    built, traced, tensors = open_model("yolov8n"), open_model(module, 32), open_model(tmp_path / "odd.pt")
    assert [type(model) for model in (built, traced, tensors)] == [LayoutModel, TracedModel, TensorFile]
    assert [model.name for model in (built, traced, tensors)] == ["yolov8n", "Sequential", "odd"]
    assert [model.imgsz for model in (built, traced, tensors)] == [None, 32, None]
    assert [bool(model.graph.views) for model in (built, traced, tensors)] == [True, True, False]
    for model in (built, traced, tensors):
        assert set(model.outline.rows) >= set(model.graph.layers) - {"image"}
        assert model.classes is None
        assert model.source
    assert built.network(seed=3).spec == built.graph
    for other in (traced, tensors):
        for action in (other.network, lambda other=other: other.layout):
            with pytest.raises(EffscopeError, match=f"{other.name} can only be counted and ranked: "):
                action()


def test_a_module_brings_its_weights_and_a_hub_has_none() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3))
    opened = open_model(module, 32)
    assert isinstance(opened, TracedModel)
    assert opened.module is module
    assert opened.state is not None
    assert torch.equal(opened.state["0.weight"], module[0].weight)
    hub = open_model("torchvision:squeezenet1_1", 64)
    assert isinstance(hub, TracedModel)
    assert (hub.state, hub.imgsz) == (None, 64)
    assert hub.source == "torchvision:squeezenet1_1, untrained weights, traced at 64 px"


def test_what_is_not_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EffscopeError, match=r"is a folder without model\.safetensors"):
        open_model(tmp_path / "empty")
    with pytest.raises(EffscopeError, match="a model is a name, a file or a torch module, not 3"):
        open_model(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "params", "stages", "note"),
    [
        ("LeYOLONano.pt", 1_120_480, 22, "8.1.4"),
        ("yolov5n_ppe_yolov5repo.pt", 1_766_623, 8, "YOLOv5-repository"),
        ("yolov8n_coco.pt", 3_157_200, 8, "Ultralytics"),
    ],
)
def test_real_checkpoints(shared: Path, file: str, params: int, stages: int, note: str) -> None:
    path = str(shared / "data" / "weights" / file)
    counted = api.cost(path)
    assert isinstance(counted, CostResult)
    assert (counted.params, counted.uncounted) == (params, ())
    ranked = api.rank(path)
    assert len(ranked.stages) == stages
    assert note in ranked.source
    with torch.no_grad():
        decoded = open_model(path).network().eval()(IMAGES)["decoded"][0]
    assert decoded.isfinite().all()


@pytest.mark.parametrize("at", ["stage", "all"])
def test_a_ranking_of_many_convolutions_is_plotted_and_noted(at: str, tmp_path: Path) -> None:
    model, classes = fork()
    path = written(tmp_path, model, classes)
    from effscope.reporting.pages import pages
    from effscope.reporting.pages.rank import rank_table
    from effscope.reporting.write import write

    result = api.rank(str(path), at=at)
    assert {"rank.png", "rank.json"} <= set(write(pages(result), tmp_path))
    assert any("every convolution" in note for note in rank_table(result).notes) == (at == "all")
