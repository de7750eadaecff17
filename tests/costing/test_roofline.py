"""Times that a roofline predicts: by hand, by properties, for published devices, against published latencies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from support.golden_files import golden

from effscope.costing.laws import Counts
from effscope.costing.layer_cost import graph_of
from effscope.costing.layer_forms import named_layer
from effscope.costing.nodes import NodeCost, node_costs
from effscope.costing.roofline import (
    ITEM_BYTES,
    PUBLISHED,
    Device,
    device,
    devices,
    list_devices,
    predicted,
    predicted_by,
    predicted_s,
)
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import ZOO, layout
from effscope.spec.graph import Graph, Node
from effscope.spec.rewrite import deploy_form

TOY = Device("toy", {"float32": 1000.0, "float16": 4000.0}, 100.0, "invented: ridge at 10 FLOPs per byte")

CONV = {"k": (3, 3), "s": (1, 1), "p": (1, 1), "d": (1, 1), "groups": 1, "bias": False, "init": ""}


def conv(name: str, source: str, c_in: int, c_out: int) -> Node:
    return Node(name, "conv2d", (source,), {**CONV, "c_in": c_in, "c_out": c_out}, "a", (("weight", f"{name}.weight"),))


def chain(*nodes: Node) -> list[NodeCost]:
    graph = Graph((Node("image", "input", args={"c": 2}, layer="image"), *nodes), {"out": (nodes[-1].name,)}, ("a",))
    return node_costs(graph, (1, 2, 4, 4))


def test_one_convolution_by_hand() -> None:
    """2 -> 4 channels, 3x3, on 4 x 4: 72 weights, 1152 MACs; 32 values in, 64 out."""
    rows = chain(conv("conv", "image", 2, 4))
    time = predicted(rows, TOY)["conv"]
    assert (time.flops, time.bytes) == (2 * 1152, 4 * (32 + 64 + 72))
    assert time.seconds == pytest.approx(max(2304 / 1000, 672 / 100)) == pytest.approx(6.72)
    assert time.bound == "memory"
    assert predicted_s(rows, TOY, "float16") == pytest.approx(max(2304 / 4000, 336 / 100))
    fast = Device("fast memory", {"float32": 1000.0}, 1e6, "")
    assert predicted_s(rows, fast) == pytest.approx(2.304)
    assert predicted(rows, fast)["conv"].bound == "compute"


def test_an_activation_moves_bytes_only_if_it_is_not_fused() -> None:
    rows = chain(conv("conv", "image", 2, 4), Node("act", "silu", ("conv",), {}, "a"))
    apart = predicted(rows, TOY, fused=False)
    assert apart["act"].bytes == 4 * (64 + 64) and apart["act"].flops == 2 * 64
    together = predicted(rows, TOY)
    assert together["act"].seconds == 0
    assert together["conv"].bytes == apart["conv"].bytes
    assert together["conv"].flops == apart["conv"].flops + apart["act"].flops


def test_a_sum_is_fused_into_one_operand_and_reads_the_other() -> None:
    first, second = conv("first", "image", 2, 4), conv("second", "first", 4, 4)
    rows = chain(first, second, Node("sum", "add", ("first", "second"), {}, "a"))
    together = predicted(rows, TOY)
    assert together["sum"].seconds == 0
    assert together["second"].bytes == 4 * (64 + 144 + 64 + 64)  # its input, its weights, the other operand, the sum
    assert together["first"].bytes == 4 * (32 + 72 + 64)


def test_values_read_twice_and_outputs_are_written() -> None:
    act = Node("act", "silu", ("conv",), {}, "a")
    rows = chain(conv("conv", "image", 2, 4), act, Node("both", "concat", ("conv", "act"), {"dim": 1}, "a"))
    assert predicted(rows, TOY)["act"].bytes == 4 * 128
    rows = chain(conv("conv", "image", 2, 4), act)
    assert predicted(rows, TOY, outputs=["conv"])["act"].bytes == 4 * 128


def test_views_take_no_time() -> None:
    rows = chain(Node("flat", "flatten", ("image",), {"start": 2, "end": 3}, "a"))
    assert predicted_s(rows, TOY) == 0


def cost_of(flops: int, read: int, written: int, n: int = 0) -> NodeCost:
    counts = Counts(elementwise=flops, elements_in=read, elements_out=written)
    return NodeCost(Node(f"n{n}", "concat"), (), (1,), counts, (), read)


whole = st.integers(0, 10**6)
works = st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=6)


def rows_of(found: list[tuple[int, int, int]]) -> list[NodeCost]:
    return [cost_of(*numbers, n) for n, numbers in enumerate(found)]


@given(works, st.integers(0, 5), st.sampled_from((0, 1, 2)), whole)
def test_more_work_never_takes_less_time(found: list[tuple[int, int, int]], at: int, which: int, more: int) -> None:
    raised = list(found)
    numbers = list(raised[at % len(raised)])
    numbers[which] += more
    raised[at % len(raised)] = (numbers[0], numbers[1], numbers[2])
    assert predicted_s(rows_of(raised), TOY) >= predicted_s(rows_of(found), TOY) * (1 - 1e-12)


@given(works, st.floats(1, 1000))
def test_faster_memory_divides_the_time_of_moving(found: list[tuple[int, int, int]], k: float) -> None:
    moving = [(0, read, written) for _, read, written in found]
    quick = Device("quick", TOY.peaks, TOY.bandwidth * k, "")
    assert predicted_s(rows_of(moving), quick) == pytest.approx(predicted_s(rows_of(moving), TOY) / k)
    both = Device("both", {"float32": TOY.peaks["float32"] * k}, TOY.bandwidth * k, "")
    assert predicted_s(rows_of(found), both) == pytest.approx(predicted_s(rows_of(found), TOY) / k)


@given(st.sampled_from(sorted(ZOO)), st.sampled_from(("T4", "Raspberry Pi 5", "Orin Nano")))
@settings(max_examples=8, deadline=None)
def test_fusing_never_adds_time_and_keeps_flops(name: str, on: str) -> None:
    graph = deploy_form(expand(layout(name)))[0]
    rows, machine = node_costs(graph, (1, 3, 64, 64)), device(on)
    fused, apart = predicted_s(rows, machine), predicted_s(rows, machine, fused=False)
    assert sum(row.counts.flops for row in rows) / machine.peak("float32") <= fused * (1 + 1e-9)
    assert fused <= apart * (1 + 1e-9)
    flops = [sum(t.flops for t in predicted(rows, machine, fused=f).values()) for f in (True, False)]
    assert flops[0] == flops[1] == sum(row.counts.flops for row in rows)


def test_fused_batch_norms_move_as_many_bytes_as_folded_ones() -> None:
    """The difference between both: a batch norm has two parameters per channel, a folded one has one bias."""
    graph = expand(layout("yolov8n")).keep("decoded")
    built = predicted(node_costs(graph, (1, 3, 64, 64)), TOY).values()
    folded = predicted(node_costs(deploy_form(graph)[0], (1, 3, 64, 64)), TOY).values()
    norms = sum(2 * n.args["c"] for n in graph.nodes if n.op == "batchnorm")
    assert sum(t.bytes for t in built) - sum(t.bytes for t in folded) == 4 * norms // 2


def test_groups_add_up_to_the_whole() -> None:
    rows = node_costs(deploy_form(expand(layout("yolov10n")))[0], (1, 3, 64, 64))
    groups = predicted_by(rows, device("T4"), lambda row: row.node.layer, "float16")
    assert sum(t.seconds for t in groups.values()) == pytest.approx(predicted_s(rows, device("T4"), "float16"))


def test_a_depthwise_separable_layer_gains_less_time_than_flops() -> None:
    """FLOPs fall 8.4 times (128 channels, 3x3), time less: the ridge of the Pi lies between the two intensities."""
    forms = {form.name.split()[0]: form for form in named_layer("conv3x3").forms}
    pi, times, flops = device("Raspberry Pi 5"), {}, {}
    for name in ("standard", "depthwise-separable"):
        rows = node_costs(graph_of(forms[name], 128, 128, 1), (1, 128, 40, 40))
        times[name], flops[name] = predicted_s(rows, pi), sum(row.counts.macs for row in rows)
    assert flops["standard"] / flops["depthwise-separable"] == pytest.approx(9 * 128 / (9 + 128))
    assert times["standard"] / times["depthwise-separable"] < 8


def test_published_latencies_have_the_order_of_the_roofline() -> None:
    """T4, float16, TensorRT, without post-processing (arXiv 2405.14458).

    The latencies are never below the roofline and have exactly its order. The order of FLOPs differs.
    """
    times, flops, measured = [], [], []
    for row in golden("yolo_published.csv"):
        if row["latency_f_ms"] and row["model"] in ZOO:
            graph = deploy_form(expand(layout(row["model"])))[0]
            times.append(1000 * predicted_s(node_costs(graph, (1, 3, 640, 640)), device("T4"), "float16"))
            flops.append(float(row["flops_g"]))
            measured.append(float(row["latency_f_ms"]))
    assert len(measured) >= 12
    assert all(1 < real / least < 5 for real, least in zip(measured, times, strict=True))
    assert kendalltau(times, measured).statistic == pytest.approx(1)
    assert kendalltau(flops, measured).statistic < 0.95


def test_the_table_of_devices_is_plausible() -> None:
    assert len(devices()) >= 10
    for found in devices().values():
        assert found.source and 1e9 < found.bandwidth < 1e13
        assert found.peaks and set(found.peaks) <= set(PUBLISHED) <= set(ITEM_BYTES)
        assert all(1e10 < peak < 1e16 for peak in found.peaks.values())
        known = [found.peaks[dtype] for dtype in PUBLISHED if dtype in found.peaks]
        assert known == sorted(known), "narrower dtypes are never slower"
        assert 1 < found.ridge(next(iter(found.peaks))) < 1000
    result = list_devices()
    assert [row.name for row in result.rows] == list(devices())
    assert type(result).from_dict(result.to_dict()) == result


def test_a_device_by_its_name_or_a_part_of_it() -> None:
    assert device("NVIDIA T4") == device("t4") == devices()["NVIDIA T4"]
    for wrong in ("RTX 5090", "jetson", "", "raspbery pi 5"):
        with pytest.raises(EffscopeError, match="unknown device") as error:
            device(wrong)
        assert "\n" not in str(error.value) and "choose one of" in str(error.value)
    with pytest.raises(EffscopeError, match="unknown dtype for Raspberry Pi 4 'int8'"):
        device("Raspberry Pi 4").peak("int8")
