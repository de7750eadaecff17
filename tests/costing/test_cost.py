"""Costs: rows add up to totals, layers follow their published formulas, bad input is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden_files import golden
from torch import Tensor, nn

from effscope import api
from effscope.costing.laws import ITEM_BYTES, OTHER_KINDS, Counts, summed
from effscope.costing.model import cost, inference_view
from effscope.costing.nodes import node_costs, total
from effscope.costing.roofline import devices
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.moves import move
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.reporting.page import Table
from effscope.reporting.pages.cost import COST_VIEWS, page
from effscope.reporting.render.terminal import fitted
from effscope.results import CostResult
from effscope.spec.layout import IMAGE, Layer, Layout, Scale

COLUMNS = ("macs", "flops", "conv_flops")
VIEWS = ("layers", "stages", "ops")

CASES = [(name, ()) for name in ZOO] + [
    (f"yolov8{s}", moves) for s in "nsmlx" for moves in [("cib-lk", "light-head"), ("scdown",)]
]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("model", "moves"), CASES)
def test_rows_add_up_to_the_totals(model: str, moves: tuple[str, ...], view: str) -> None:
    moved = layout(model, 11)
    for name in moves:
        moved = move(moved, name)
    result = cost(moved, 128)
    rows = getattr(result, view)
    for column in COLUMNS:
        assert sum(getattr(row, column) for row in rows) == getattr(result, column)
    assert sum(row.params for row in rows) == result.params_one_head
    assert sum(row.bytes for row in rows) == result.bytes
    assert result.flops >= 2 * result.macs >= result.conv_flops
    assert result.params >= result.params_one_head > result.params_deploy
    opaque = any(node.op == "opaque" for node in expand(moved).nodes)
    assert bool(result.uncounted) == opaque


def test_rows_are_named_by_layer_stage_and_primitive() -> None:
    result = cost(layout("yolov8n"))
    assert [row.name for row in result.layers] == [f"model.{n}" for n in range(23)]
    assert [row.stage for row in result.layers if row.stage] == list(range(1, 9))
    assert [row.name for row in result.stages] == [*(f"stage {k}" for k in range(1, 9)), "between stages", "head"]
    by_name = {row.name: row for row in result.layers}
    for row in result.stages[:8]:
        index = {1: 2, 2: 4, 3: 6, 4: 8, 5: 12, 6: 15, 7: 18, 8: 21}[row.stage or 0]
        assert (row.params, row.flops) == (by_name[f"model.{index}"].params, by_name[f"model.{index}"].flops)
    assert by_name["model.8"].shape == (1, 256, 20, 20)
    assert {row.name for row in result.ops} >= {"conv2d", "batchnorm", "silu", "maxpool"}
    assert "input" not in {row.name for row in result.ops}


def test_more_than_nine_stages_stay_in_order() -> None:
    layers = [Layer("0", "Conv", (16, 3, 2), (IMAGE,))]
    layers += [Layer(str(n), "C2f", (16, True), (str(n - 1),)) for n in range(1, 12)]
    result = cost(Layout("deep", tuple(layers), Scale(), 3, 12), 32)
    assert [row.name for row in result.stages] == [*(f"stage {k}" for k in range(1, 12)), "between stages"]


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 12), st.integers(1, 3))
def test_counts_grow_with_the_image_and_parameters_do_not(times: int, factor: int) -> None:
    small, large = (cost(layout("yolov8n", 4), 32 * times * k) for k in (1, factor))
    for column in COLUMNS:
        assert getattr(large, column) == factor**2 * getattr(small, column)
    assert (large.params, large.params_deploy) == (small.params, small.params_deploy)


def test_bytes_are_values_read_and_written_and_weights() -> None:
    one_conv = Layout("one-conv", (Layer("a", "Conv", (8, 3, 2), (IMAGE,)),), Scale(), 3, 1)
    result = cost(one_conv, 16)
    image, out, weights = 3 * 16 * 16, 8 * 8 * 8, 3 * 8 * 9 + 2 * 8
    values = image + 5 * out + weights  # conv writes, norm and SiLU read and write
    assert result.bytes == ITEM_BYTES["float32"] * values
    assert result.macs == 8 * 8 * 8 * 27
    assert result.flops == 2 * result.macs + 4 * out


def test_shared_weights_count_once_and_their_macs_at_every_call() -> None:
    graph = expand(layout("yolov8n", 4))
    twice = replace(graph.nodes[1], name=graph.nodes[1].name + "@2")
    more = replace(graph, nodes=(*graph.nodes, twice))
    (before, params), (after, params_after) = (total(node_costs(g, (1, 3, 64, 64))) for g in (graph, more))
    assert params_after == params
    assert after.macs - before.macs == 32 * 32 * 16 * 27


def test_counts_add_up() -> None:
    a = Counts(*range(1, 12))
    assert summed([a, a]) == Counts(*range(2, 24, 2))
    assert summed([a]) == a
    assert summed([]) == Counts()
    assert (a.flops, a.conv_flops) == (2 + 3 + 4 + 5 + 6 + 7 + 8 + 9, 4)


@pytest.mark.parametrize("imgsz", [0, -32, 33, 48, 1])
def test_bad_sizes_are_refused_by_name(imgsz: int) -> None:
    with pytest.raises(EffscopeError, match="imgsz"):
        api.cost("yolov8n", imgsz)


def test_zoo_gives_the_cost_of_every_model() -> None:
    result = api.zoo()
    assert [m.model for m in result.models][: len(ZOO)] == list(ZOO)
    for found in result.models:
        if found.model not in ZOO:
            assert (found.params, found.note) == (None, "cannot be expressed yet")
            continue
        expected = cost(layout(found.model))
        for key in ("params", "params_one_head", "params_deploy", "macs", "flops", "conv_flops"):
            assert getattr(found, key) == getattr(expected, key)
    published = {row["model"]: row for row in golden("yolo_published.csv")}
    assert {m.model for m in result.models if m.published_params_m} == set(published)
    for name, row in published.items():
        found = next(m for m in result.models if m.model == name)
        assert (found.published_params_m, found.published_flops_g, found.ap) == tuple(
            float(row[key]) for key in ("params_m", "flops_g", "ap")
        )


def test_zoo_can_be_filtered() -> None:
    assert [m.model for m in api.zoo("yolov10").models] == [f"yolov10{s}" for s in "nsmblx"]
    with pytest.raises(EffscopeError, match="no built-in model contains 'yolo99'"):
        api.zoo("yolo99")


@pytest.mark.parametrize("row", golden("exact_counts.csv"), ids=lambda row: row["model"])
def test_forms_from_training_to_deployment(row: dict[str, str]) -> None:
    result = cost(layout(row["model"]))
    forms = {form.form: form for form in result.forms}
    assert list(forms) == ["training", "one head", "one head, decoded", "deploy"]
    frozen = 16  # weights of the fixed DFL convolution, which decodes boxes
    assert forms["training"].params == int(row["params_train"]) - frozen
    assert forms["one head, decoded"].params == int(row["params_one_head"]) == forms["one head"].params + frozen
    assert forms["deploy"].params == int(row["params_deploy"])
    assert forms["one head, decoded"].conv_flops == int(row["conv_flops"])
    dual = result.params != result.params_one_head
    assert (forms["training"].macs > forms["one head"].macs) == dual
    assert forms["one head"].macs < forms["one head, decoded"].macs
    assert forms["deploy"].bytes < forms["one head, decoded"].bytes
    shown = (result.macs, result.flops, result.bytes, result.peak_activation_bytes)
    decoded = forms["one head, decoded"]
    assert shown == (decoded.macs, decoded.flops, decoded.bytes, decoded.peak_activation_bytes)


@pytest.mark.parametrize("name", ["yolov8n", "yolov10n", "rtdetr-l", "yolox-nano", "efficientnet-b0-yolov8"])
def test_every_column_adds_up_and_every_operation_is_covered(name: str) -> None:
    result = cost(layout(name), 128)
    assert result.flops == 2 * result.macs + sum(getattr(result, kind) for kind in OTHER_KINDS)
    for view in VIEWS:
        rows = getattr(result, view)
        for column in (*OTHER_KINDS, "bytes_read", "bytes_written"):
            total = getattr(result, column, None)
            assert total is None or sum(getattr(row, column) for row in rows) == total, column
        assert sum(row.bytes_read + row.bytes_written for row in rows) == result.bytes
    nodes = [n for n in inference_view(expand(layout(name))).nodes if n.op not in ("input", "parameter")]
    assert sum(result.coverage.values()) == len(nodes)
    assert result.coverage["uncounted"] == sum(row.calls for row in result.uncounted_ops)


@pytest.mark.parametrize("device", ["NVIDIA T4", "Raspberry Pi 4"])
def test_predicted_times_add_up_by_layer_stage_and_primitive(device: str) -> None:
    result = api.cost("yolov10n", 128, device=device)
    assert isinstance(result, CostResult)
    assert result.device == device
    for view in VIEWS:
        rows = getattr(result, view)
        assert sum(row.predicted_ms for row in rows) == pytest.approx(result.predicted_ms)
        assert all(bool(row.bound) == bool(row.predicted_ms) for row in rows)
    known = devices()[device]
    least = result.forms[-1].flops / known.peak("float32") * 1000
    assert result.predicted_ms is not None
    assert result.predicted_ms >= least
    assert result.ridge == known.peak("float32") / known.bandwidth


@pytest.mark.parametrize("device", [None, "NVIDIA T4"])
@pytest.mark.parametrize("by", COST_VIEWS)
def test_tables_fit_a_terminal(by: str, device: str | None) -> None:
    """A table leaves out as few of its narrow columns as possible."""
    (table,) = (part for part in page(api.cost("yolov10x", 1280, device=device), by).parts() if isinstance(part, Table))
    assert fitted(table, 1000) == table
    narrow = [column for column in table.narrow if column in table.columns]
    assert not set(narrow) & set(fitted(table, 1).columns)
    for width in (40, 60, 80, 100, 120):
        shown = fitted(table, width)
        left_out = set(table.columns) - set(shown.columns)
        assert left_out == set(narrow[: len(left_out)])
        assert {len(row) for row in shown.rows} == {len(shown.columns)}
        widths = [max(len(cell.strip()) for cell in cells) for cells in zip(shown.columns, *shown.rows, strict=True)]
        assert sum(widths) <= width or left_out == set(narrow)


def test_unused_parameters_move_no_bytes() -> None:
    class WithUnused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 4, 1), nn.Linear(5, 6)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    result = api.cost(WithUnused(), 8)
    assert isinstance(result, CostResult)
    assert result.layers[-1].name == "not reached"
    assert sum(row.params for row in result.layers) == result.params == 16 + 36
    assert sum(row.bytes for row in result.layers) == result.bytes == 4 * (3 * 64 + 4 * 64 + 16)
