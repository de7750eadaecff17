"""A small result of every kind."""

from __future__ import annotations

from typing import Any

from effscope import api, config
from effscope.results import (
    ACCEPTED,
    Baseline,
    Change,
    ClassScore,
    CompareResult,
    Confusion,
    CostResult,
    CounterRow,
    CountersResult,
    CounterTerm,
    Curve,
    DeviceRow,
    DevicesResult,
    DiffResult,
    ErrorKind,
    EvalResult,
    ExportResult,
    FrontPoint,
    GivenModel,
    HeadUse,
    Latency,
    LatencyResult,
    LatencyRow,
    LayerCostResult,
    LayerTransfer,
    LibraryRow,
    OrderVariant,
    Origin,
    RankDefinition,
    RankResult,
    Result,
    ScaleResult,
    ScoredRun,
    SearchResult,
    Spectrum,
    StageRank,
    TensorRow,
    TensorsResult,
    TrainResult,
    Trial,
    ZooResult,
    ZooRow,
)


def made(settings: Any = None) -> Origin[Any]:
    data = {"train": "def", "val": "ghi"}
    return Origin("effscope search", settings, "abc", "start", data, (0, 1), {"torch": "2"}, "here")


MADE = made()
SCORES: dict[str, Any] = {
    "model": "m", "ap": 0.4, "ap50": 0.6, "ap75": 0.5, "ap_s": None, "ap_m": 0.1, "ap_l": 0.7,
    "per_class": {"zelle": 0.4, "none": None}, "images": 3, "boxes": 7,
}  # fmt: skip
TRIAL = Trial(
    8,
    "cib",
    90,
    900,
    0.3,
    0.41,
    (0.4, 0.42),
    0.4,
    0.01,
    (-0.01, 0.03),
    ACCEPTED,
    (Change(8, "cib"),),
    Latency(7.5, 0.1, 4.5, 0.2),
    ("a note",),
)
STAGE = StageRank(8, "model.21.cv2.conv", (256, 384), 256, 8, 0.03125, 0.5, 99.5, 3.25, (1, 2), False)
NOT_RANKED = StageRank(1, "model.2.cv2.conv", (32, 9), 32, None, None, None, None, None, (), False, "depthwise")

COUNTER_ROWS = (
    CounterRow("fvcore", "MACs", 90, 80, "fvcore's count", 90, "0.1.5"),
    CounterRow("torch", "FLOPs", 160, 160),
)
LATENCY_ROWS = (
    LatencyRow("m", "forward", "whole", 9.5, 0.5, 9.1, 4.5, "compute", 900, 90),
    LatencyRow("m", "NMS, 10 objects, conf 0.25", "post", 0.4, 0.1, 0.3),
)
ZOO_ROWS = (ZooRow("yolov8n", 9, 8, 7, 6, 5, 4, 3.2, 8.7), ZooRow("other"))

RANKS = RankResult(
    "m", "s", RankDefinition("stage", 0.5, True, True, "checkpoint", "weights"), (STAGE, NOT_RANKED), (8,),
    made(config.RankConfig(threshold="energy:0.9")), ((8, 4),), ((8, 4, 7),),
    (OrderVariant("threshold 0.3", (8, 4), ((8, 4),), 0.5), OrderVariant("model x", (8,))),
    (HeadUse("attn", 1, 2, 49, 3.5, 0.9, 0.8, 2, 0.8),), ("a note",),
    (Spectrum.rounded(8, "model.21.cv2.conv", (1.23456789, 1e-9 / 3), (1.0, 1 / 3)),),
)  # fmt: skip
HISTORY = tuple(
    {"epoch": n, "box": 4 / n, "cls": 3 / n, "dfl": 2 / n, "gap": 0.5 / n, "top1": 0.2 * n, "top5": 0.4, "top10": 0.5}
    | ({"ap": 0.1 * n} if n != 2 else {})
    for n in (1, 2, 3)
)
FALLING = tuple(1 - n / 125 for n in range(101))
EXAMPLES: dict[type[Result], Result] = {
    CostResult: api.cost("yolov8n", 64),
    TensorsResult: TensorsResult("w", 12, ("the rest",), (TensorRow("model.0", "Conv", 12),), MADE, ("a note",)),
    ZooResult: ZooResult("t", "640 px", "s", ("params", "macs"), ZOO_ROWS, made(config.ZooConfig("yolo"))),
    ExportResult: ExportResult(
        "m", 64, {"yaml": "m.yaml", "pt": "m.pt"}, ("a note",), made(config.ExportConfig(("yaml", "pt"), 64))
    ),
    LayerCostResult: api.layer_cost("conv3x3", 8),
    ScaleResult: api.scaled_cost("yolov8n", "0,1"),
    DiffResult: api.diff("yolov8n", "yolov10n"),
    CountersResult: CountersResult(
        "m", 64, 80, COUNTER_ROWS, (CounterTerm("fvcore", "batchnorm", "2 per value", 3, 10),),
        made(config.CountersConfig(64)), ("a note",)
    ),
    DevicesResult: DevicesResult((DeviceRow("Raspberry Pi 4", 48e9, None, None, 12.8e9, "a brief"),), MADE),
    LatencyResult: LatencyResult(
        64, "a processor", 2, "float32", "torch", 5, "NVIDIA T4", "float16", 65e12, 320e9, 203.125, "a paper", True,
        LATENCY_ROWS, made(config.LatencyConfig(objects=(0, 3))), {"m": 1.02}, ("a note",),
    ),
    RankResult: RANKS,
    EvalResult: EvalResult(
        **SCORES, origin=made(config.EvalConfig()), files={"result": "eval.json"}, data="cells/data.yaml", split="val",
        errors=(ErrorKind("both", 3, 0.5, 0.4, 0.1, 0.05, 2),), score_cut=0.25, precision=0.75, recall=0.5, f1=0.6,
        classes=(ClassScore("zelle", 7, 0.4, 0.6, 0.75, 0.5, 0.6),),
        curves=(Curve("zelle", FALLING, tuple(x * (1 - x) for x in FALLING)),),
        confusion=Confusion(("zelle", "none"), ((4, 2, 1), (0, 0, 0), (1, 0, 0)), 0.25, 0.5),
    ),
    TrainResult: TrainResult(
        **SCORES, origin=made(config.TrainConfig(limit_val=3)),
        images_per_s=3.5, epochs=2, peak_memory_mb=1.5, seconds=9.0, transfer="", files={"a": "b"},
        history=HISTORY, ap_se=0.01, notes=("a note",),
        transfer_layers=(LayerTransfer("model.22", "Detect", "partial", 3, 1, 5, 30, 50),),
    ),
    SearchResult: SearchResult(
        "m", 0.4, 0.35, 100, 1000, (8, 4), "margin", 0.01, 64, (TRIAL,), (Change(8, "cib"),), "every stage was tried",
        {"params": 0.1, "flops": 0.2, "latency": -0.3}, {"weights": "w"}, 3.5, ("a note",), RANKS,
        made(config.SearchConfig(moves=("cib-lk",))), Latency(8.5, 0.1), "onnxruntime 1.32.0", 2,
        GivenModel(120, 1100, 0.42, 0.36, Latency(9.5, 0.25, 6.5, 0.1)), (0.41, 0.39),
        0.005, {},
        (LibraryRow(8, "slim-50", 12, 110, 2.0, 1.5, 0.12, 0.34, 0.01),
         LibraryRow(0, "light-head", 10, 90, None, None, None, 0.36, -0.01)),
        (FrontPoint((), 100, 1000, 8.5, 0.4, "base"), FrontPoint((Change(8, "cib"),), 90, 900, 8.0, 0.41, "accepted")),
        (Baseline("the base", False, 0.41, Latency(9.5, 0.25, 6.5, 0.1)),
         Baseline("the chosen model", True, 0.4, Latency(8.5, 0.2, 6.0, 0.1)),
         Baseline("the base at 32 px", False, 0.3, None)),
    ),
    CompareResult: CompareResult(
        "m", "n and 1 more", (ScoredRun("A", "m", 0.4), ScoredRun("B", "n", 0.39), ScoredRun("B", "o", 0.41)), 0.4, 0.4,
        0.0, (-0.02, 0.02), 0.01, "inconclusive", "a note", 0.014, 0.005, 9, made(config.EvalConfig()),
        files={"result": "compare.json"},
    ),
}  # fmt: skip

BY_KIND = {kind.KIND: result for kind, result in EXAMPLES.items()}
