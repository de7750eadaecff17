"""What engines produce and reports read: frozen results that carry their origin. No torch, no pandas at import."""

from effscope.results.base import FORMAT_VERSION, PACKAGES, TRAIN_RESULT, Origin, Result, origin, version
from effscope.results.counters import CounterRow, CountersResult, CounterTerm
from effscope.results.counting import (
    Alternative,
    CostResult,
    CostRow,
    DiffResult,
    DiffRow,
    FormRow,
    LayerCostResult,
    ScaleResult,
    ScaleRow,
    TensorRow,
    TensorsResult,
    UncountedRow,
    ZooResult,
    ZooRow,
)
from effscope.results.judging import EvalResult, ExportResult, SearchResult, TrainResult, Trial
from effscope.results.latency import DeviceRow, DevicesResult, LatencyResult, LatencyRow
from effscope.results.ranking import HeadUse, OrderVariant, RankResult, Spectrum, StageRank

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "TRAIN_RESULT",
    "Alternative",
    "CostResult",
    "CostRow",
    "CounterRow",
    "CounterTerm",
    "CountersResult",
    "DeviceRow",
    "DevicesResult",
    "DiffResult",
    "DiffRow",
    "EvalResult",
    "ExportResult",
    "FormRow",
    "HeadUse",
    "LatencyResult",
    "LatencyRow",
    "LayerCostResult",
    "OrderVariant",
    "Origin",
    "RankResult",
    "Result",
    "ScaleResult",
    "ScaleRow",
    "SearchResult",
    "Spectrum",
    "StageRank",
    "TensorRow",
    "TensorsResult",
    "TrainResult",
    "Trial",
    "UncountedRow",
    "ZooResult",
    "ZooRow",
    "origin",
    "version",
]
