"""Measured times: complete rows, restored state, and dummy outputs in which post-processing finds every object.

No test asserts a time.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from effscope import api
from effscope.config import EvalConfig, LatencyConfig
from effscope.costing.model import cost
from effscope.costing.roofline import device, list_devices
from effscope.detect.predict import select
from effscope.errors import EffscopeError
from effscope.layouts.expand import expand
from effscope.layouts.zoo.catalog import layout
from effscope.models.open import open_model
from effscope.models.opened import TensorFile
from effscope.nn.build import build
from effscope.reporting.page import Text
from effscope.reporting.pages import pages
from effscope.reporting.pages.devices import devices_table
from effscope.reporting.pages.latency import latency_table, parts_table
from effscope.reporting.plots.latency import latency_plot
from effscope.reporting.render.markdown import table as to_markdown
from effscope.results import LatencyResult, LatencyRow, version
from effscope.timing import measure, runnable
from effscope.timing.clock import WARM_UP, Spread, by_turns, threads
from effscope.timing.dummy_outputs import decoded
from effscope.timing.in_turn import in_turn

QUICK = LatencyConfig(imgsz=64, device="cpu", rounds=2, objects=(0, 5), typical=5, predict="T4")
STAGES = [f"stage {k}" for k in range(1, 9)]
PARTS = [*STAGES, "between stages", "head"]


class Small(nn.Module):
    """A torch module that is not built by effscope."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x).mean((2, 3))
        return out


@pytest.fixture(scope="module")
def measured() -> LatencyResult:
    names = ("yolov8n", "yolov10n", "torchvision:mobilenet_v3_small")
    models = [*(open_model(name, imgsz=64) for name in names), open_model(Small(), imgsz=64)]
    return measure.latency(models, QUICK)


def parts_of(result: LatencyResult, model: str, *kinds: str) -> list[str]:
    return [row.part for row in result.rows if row.model == model and row.kind in kinds]


def test_every_part_has_a_row(measured: LatencyResult) -> None:
    nms = [f"NMS, {n} objects, conf {conf}" for conf in ("0.25", "0.001") for n in (0, 5)]
    top_k = [f"top-k, {n} objects" for n in (0, 5)]
    for model, post in (("yolov8n", nms), ("yolov10n", [*top_k, *nms])):
        assert parts_of(measured, model, "whole", "part") == ["forward", *PARTS]
        assert parts_of(measured, model, "post") == post
        assert parts_of(measured, model, "total") == [
            "Latency_f", *(f"Latency with {part}" for part in post if ", 5 objects" in part)
        ]  # fmt: skip
        assert measured.parts_over_whole[model] > 0
    for model in ("mobilenet_v3_small", "Small"):
        assert parts_of(measured, model, "whole", "part", "post", "total") == ["forward"]
    for row in measured.rows:
        assert row.median_ms >= row.least_ms > 0 and row.iqr_ms >= 0
        assert (row.predicted_ms is not None) == (row.bound in ("compute", "memory"))
    assert (measured.runtime, measured.dtype, measured.fused) == ("torch", "float32", True)
    assert measured.ridge == measured.peak / measured.bandwidth == device("T4").ridge("float32")


def test_predicted_parts_sum_to_the_predicted_pass(measured: LatencyResult) -> None:
    for model in ("yolov8n", "yolov10n"):
        whole = measured.of(model, "forward")
        rows = [measured.of(model, part) for part in PARTS]
        assert sum(row.predicted_ms or 0 for row in rows) == pytest.approx(whole.predicted_ms)
        assert sum(row.flops or 0 for row in rows) == whole.flops
        assert sum(row.bytes or 0 for row in rows) == whole.bytes
    with pytest.raises(KeyError, match="no part 'tail'"):
        measured.of("yolov8n", "tail")


def test_result_to_json_and_to_a_table(measured: LatencyResult, tmp_path: Path) -> None:
    data = json.loads(measured.to_json())
    assert {"model", "part", "median_ms", "iqr_ms", "predicted_ms"} <= set(data["rows"][0])
    assert LatencyResult.from_dict(data) == measured
    table, models = latency_table(measured), list(dict.fromkeys(row.model for row in measured.rows))
    assert [row[0] for row in table.rows] == models  # a row a model, the parts are details
    assert all(len(row) == len(table.columns) for row in table.rows)
    for model in models:
        parts = [row.part for row in measured.rows if row.model == model and row.part != "Latency_f"]
        assert len(parts_table(measured, model).rows) == len(parts)
    text = to_markdown(table)
    assert f"{measured.threads} thread" in text and "float32" in text and "NVIDIA T4" in text


def test_a_difference_within_the_spread_is_no_difference(measured: LatencyResult) -> None:
    def timed(model: str, ms: float) -> LatencyRow:
        return LatencyRow(model, "forward", "whole", ms, 0.5, ms - 0.3)

    rows = (timed("a", 10.0), timed("b", 10.4), timed("c", 11.0))
    result = replace(measured, rows=rows, rounds=9, parts_over_whole={})  # two standard errors: 0.44 ms
    table = latency_table(result)
    assert [row[:3] for row in table.rows] == [("a", "10.00", ""), ("b", "10.40", "+4 %"), ("c", "11.00", "+10 %")]
    assert table.notes[-1] == "no difference shown between a and b: the noise is larger"


def test_bars_are_the_parts_of_the_first_total(measured: LatencyResult) -> None:
    plot = latency_plot(measured)
    for model in ("yolov8n", "yolov10n"):
        bar = [row for row in plot.rows if row["model"] == model and row["bar"] == "measured"]
        total = next(row for row in measured.rows if row.model == model and row.part.startswith("Latency with "))
        post = measured.of(model, total.part.removeprefix("Latency with "))
        assert [row["part"] for row in bar] == [*PARTS, post.part]
        assert [row["left_ms"] for row in bar[1:]] == pytest.approx([r["left_ms"] + r["width_ms"] for r in bar[:-1]])
        end = bar[-1]["left_ms"] + bar[-1]["width_ms"]
        assert end == pytest.approx(total.median_ms)  # the number of the table
    (small,) = (row for row in plot.rows if row["model"] == "Small" and row["bar"] == "roofline")
    assert small["width_ms"] == measured.of("Small", "forward").predicted_ms


def test_devices_as_a_table() -> None:
    table = devices_table(list_devices())
    pi = next(row for row in table.rows if row[0] == "Raspberry Pi 4")
    assert pi[1:6] == ("0.048", "-", "-", "12.8", "3.8") and "Cortex-A72" in pi[6]


def test_modes_weights_threads_and_random_state_are_restored() -> None:
    module = Small().train()
    module.body[3].eval()
    modes = [part.training for part in module.modules()]
    state = {key: value.clone() for key, value in module.state_dict().items()}
    opened = open_model(module, imgsz=64)
    before, random = torch.get_num_threads(), torch.get_rng_state()
    result = measure.latency([opened], LatencyConfig(**{**vars(QUICK), "threads": 2}))
    assert result.threads == 2
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert not any(part._forward_hooks for part in module.modules())


def test_half_precision_runs_on_a_copy() -> None:
    module = Small()
    config = LatencyConfig(**{**vars(QUICK), "dtype": "bfloat16", "predict_dtype": "float16"})
    result = measure.latency([open_model(module, imgsz=64), open_model("yolov10n")], config)
    assert (result.dtype, result.predicted_dtype) == ("bfloat16", "float16")
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


class Float32Only(Small):
    """Runs in float32 only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float())


def test_a_dtype_that_does_not_run_is_an_error() -> None:
    config = LatencyConfig(**{**vars(QUICK), "dtype": "bfloat16", "predict_dtype": "float16"})
    with pytest.raises(EffscopeError, match="Float32Only does not run in bfloat16 here: ") as error:
        measure.latency([open_model(Float32Only(), imgsz=64)], config)
    assert "\n" not in str(error.value)


def test_progress_grows_to_one() -> None:
    fractions: list[float] = []
    measure.latency([open_model(Small(), imgsz=64)], QUICK, lambda fraction, text: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0


def test_two_models_of_one_name_get_numbers() -> None:
    result = measure.latency([open_model(Small(), imgsz=64), open_model(Small(), imgsz=64)], QUICK)
    assert [row.model for row in result.rows] == ["Small", "Small (2)"]


def test_onnx_runs_in_onnxruntime() -> None:
    pytest.importorskip("onnxruntime")
    config = LatencyConfig(**{**vars(QUICK), "runtime": "onnx"})
    result = measure.latency([open_model("yolov10n")], config)
    assert parts_of(result, "yolov10n", "whole", "part") == ["forward"]
    assert parts_of(result, "yolov10n", "post") == []  # top-k is in the graph
    assert parts_of(result, "yolov10n", "total") == ["Latency with top-k"]
    assert any("ends in top-k" in note for note in result.notes)
    with pytest.raises(EffscopeError, match="can only be counted and ranked"):
        measure.latency([open_model(Small(), imgsz=64)], config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predict": "T5"}, "unknown device 'T5'"),
        ({"predict": "Raspberry Pi 4", "predict_dtype": "int8"}, "unknown dtype for Raspberry Pi 4"),
        ({"dtype": "float8"}, "unknown `dtype` 'float8'"),
        ({"runtime": "tensorrt"}, "unknown .*runtime.* 'tensorrt': choose one of torch, onnx"),
        ({"rounds": 0}, "rounds.* must be at least 1"),
        ({"threads": 10**6}, "`threads` is 1000000, but this machine has"),
        ({"objects": ()}, "`objects` must be one or more"),
        ({"imgsz": 96}, "traced at 64 px: open it at 96 px"),
        ({"runtime": "onnx", "dtype": "bfloat16", "predict_dtype": "float32"}, "on the CPU in float32"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(EffscopeError, match=message):
        measure.latency([open_model(Small(), imgsz=64)], LatencyConfig(**{**vars(QUICK), **change}))  # type: ignore[arg-type]


def test_a_file_of_tensors_cannot_run() -> None:
    traced = open_model(Small(), imgsz=64)
    opened = TensorFile("tensors", {}, traced.graph, traced.outline, "only tensors", imgsz=64)
    with pytest.raises(EffscopeError, match="tensors: only its tensors are known"):
        measure.latency([opened], QUICK)


@pytest.mark.parametrize("n", [0, 1, 7, 100, 300])
@pytest.mark.parametrize(("box_format", "multi_label"), [("xywh", False), ("xywh", True), ("xyxy", False)])
def test_post_processing_finds_every_dummy_object(n: int, box_format: str, multi_label: bool) -> None:
    output = decoded(n, 8400, 80, 640, box_format, seed=n)
    assert output.shape == (1, 84, 8400) and output.dtype == torch.float32
    assert torch.equal(output, decoded(n, 8400, 80, 640, box_format, seed=n))
    assert not torch.equal(output, decoded(n, 8400, 80, 640, box_format, seed=n + 1))
    (found,) = select(output, box_format, EvalConfig(conf=0.25), multi_label)
    assert len(found) == n
    if n:
        assert (found[:, 4] > 0.85).all()
        above = int((output[0, 4:].amax(0) > 0.25).sum())
        assert above == n if box_format == "xyxy" else above >= n
    (scored,) = select(output, box_format, EvalConfig(conf=0.001), multi_label)
    assert len(scored) >= n


def test_more_objects_than_boxes_are_refused() -> None:
    with pytest.raises(EffscopeError, match="84 boxes at 64 px cannot find 100 objects"):
        decoded(100, 84, 80, 64, "xywh")


def test_a_head_with_few_boxes_gets_few_objects() -> None:
    result = measure.latency([open_model("yolov8n")], LatencyConfig(imgsz=64, device="cpu", rounds=1, predict="T4"))
    assert not any(", 100 objects" in row.part for row in result.rows)
    assert "yolov8n: its head has 84 boxes, too few for 100 or 300 objects" in result.notes


def test_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1) as n:
        assert n == torch.get_num_threads() == before + 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_jobs_take_turns_and_spreads_are_of_the_counted_rounds() -> None:
    order: list[str] = []

    def job(name: str) -> dict[str, float]:
        order.append(name)
        return {"part": float(len(order))}

    times = by_turns({name: (lambda name=name: job(name)) for name in "ab"}, 3)  # type: ignore[misc]
    assert order == ["a", "b"] * (WARM_UP + 3)
    assert times == {"a": {"part": [5.0, 7.0, 9.0]}, "b": {"part": [6.0, 8.0, 10.0]}}
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 1.0)
    assert Spread.of([2.5]) == Spread(2.5, 0.0, 2.5)


def test_the_parts_of_a_pass_are_the_rows_of_a_cost() -> None:
    opened = open_model("yolov8n")
    named = runnable.parts(opened.outline, opened.graph)
    assert set(named.values()) == set(PARTS) == {row.name for row in cost(opened.layout, 64).stages}


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_models_are_timed_in_turn_and_left_as_they_were(runtime: str) -> None:
    networks = {name: build(expand(layout(name))) for name in ("yolov8n", "yolov10n")}
    modes = {name: network.training for name, network in networks.items()}
    random = torch.get_rng_state()
    found = in_turn(networks, 64, "cpu", runtime, n_threads=2, rounds=3)
    assert found.runtime == f"{'onnxruntime' if runtime == 'onnx' else 'torch'} {version(found.runtime.split()[0])}"
    assert set(found.latency) == set(networks)
    for one in found.latency.values():
        assert one.all_ms is not None and one.ms > 0 and one.all_ms > 0 and one.iqr_ms >= 0
    assert {name: network.training for name, network in networks.items()} == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_torch_times_what_cannot_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise EffscopeError("torch.onnx cannot express this model: why")

    monkeypatch.setattr("effscope.timing.in_turn.checked_graph", refuses)
    said: list[str] = []
    found = in_turn({"m": build(expand(layout("yolov8n")))}, 64, "cpu", "onnx", rounds=1, say=said.append)
    assert found.runtime.startswith("torch ")
    assert said == ["latency is measured in torch, not in onnxruntime: torch.onnx cannot express this model: why"]


def test_a_wide_spread_gets_a_note() -> None:
    row = LatencyRow("m", "forward", "whole", 10.0, 3.0, 9.0)
    calm = LatencyRow("m", "forward", "whole", 10.0, 1.0, 9.0)
    assert measure._varying([row], 5) == ("times of m vary widely: the machine was busy, or `rounds` is small",)
    assert measure._varying([calm], 5) == ()
    assert measure._varying([calm], 1) == ("a single round has no spread: set `rounds` to 5 or more",)


@pytest.mark.parametrize(("others", "busy"), [(30.0, True), (0.0, False)])
def test_a_busy_machine_is_told_above_the_times(others: float, busy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A steady load makes every pass longer and no spread wider: only the load itself shows it."""
    monkeypatch.setattr("effscope.training.threads.cores_of_others", lambda: others)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    result = api.latency("yolov8n", 64, rounds=2, objects=(10,), threads=1, predict="NVIDIA T4")
    told = (
        "this machine is busy: other processes use 30.0 of its 8 cores; these times are longer than on a quiet machine"
    )
    assert [note for note in result.notes if "busy:" in note] == [told] * busy
    (page,) = pages(result)
    above = page.sections[0].parts[0]
    assert isinstance(above, Text) == bool(result.notes) and (not busy or told in above.lines)  # type: ignore[union-attr]
