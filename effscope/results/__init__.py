"""What engines produce and reports read: frozen results that carry their origin. No torch, no pandas at import."""

from effscope.results.base import FORMAT_VERSION, PACKAGES, TRAIN_RESULT, Origin, Result, origin, version
from effscope.results.counting import (
    Alternative,
    CostResult,
    CostRow,
    DiffResult,
    DiffRow,
    LayerCostResult,
    ScaleResult,
    ScaleRow,
    TensorRow,
    TensorsResult,
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
    "DeviceRow",
    "DevicesResult",
    "DiffResult",
    "DiffRow",
    "EvalResult",
    "ExportResult",
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
    "ZooResult",
    "ZooRow",
    "origin",
    "version",
]
