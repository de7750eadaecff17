"""What engines produce and reports read: frozen results that carry their origin. No torch, no pandas at import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.lazy import attach

if TYPE_CHECKING:
    from effscope.results.base import *  # noqa: F403
    from effscope.results.comparing import *  # noqa: F403
    from effscope.results.counters import *  # noqa: F403
    from effscope.results.counting import *  # noqa: F403
    from effscope.results.judging import *  # noqa: F403
    from effscope.results.latency import *  # noqa: F403
    from effscope.results.ranking import *  # noqa: F403

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "base": ("FORMAT_VERSION", "PACKAGES", "TRAIN_RESULT", "Origin", "Result", "origin", "version"),
        "ranking": ("HeadUse", "OrderVariant", "RankResult", "Spectrum", "StageRank"),
        "counting": (
            "DECODED_FORM", "DEPLOY_FORM", "PLAIN_FORM", "CostResult", "CostRow", "FormRow", "TensorRow",
            "TensorsResult", "UncountedRow",
        ),
        "counters": ("CounterRow", "CounterTerm", "CountersResult"),
        "latency": ("DeviceRow", "DevicesResult", "LatencyResult", "LatencyRow"),
        "comparing": (
            "Alternative", "DiffResult", "DiffRow", "LayerCostResult", "ScaleResult", "ScaleRow", "ZooResult", "ZooRow",
        ),
        "judging": ("ErrorKind", "EvalResult", "ExportResult", "LayerTransfer", "SearchResult", "TrainResult", "Trial"),
    },
)  # fmt: skip
