"""What engines produce and reports read: frozen results with their origin. Importing it imports no torch, no pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.lazy import attach

if TYPE_CHECKING:
    from effscope.results.base import *  # noqa: F403
    from effscope.results.codec import *  # noqa: F403
    from effscope.results.comparing import *  # noqa: F403
    from effscope.results.comparison import *  # noqa: F403
    from effscope.results.counters import *  # noqa: F403
    from effscope.results.counting import *  # noqa: F403
    from effscope.results.detection import *  # noqa: F403
    from effscope.results.export import *  # noqa: F403
    from effscope.results.latency import *  # noqa: F403
    from effscope.results.loading import *  # noqa: F403
    from effscope.results.ranking import *  # noqa: F403
    from effscope.results.search import *  # noqa: F403
    from effscope.results.stages import *  # noqa: F403

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "base": ("PACKAGES", "TRAIN_RESULT", "Origin", "Result", "json_text", "origin", "save_results", "version"),
        "codec": ("FORMAT_VERSION", "plain"),
        "loading": ("KINDS", "load_result"),
        "ranking": (
            "OTHER_MODEL", "OTHER_THRESHOLD", "RELATIVE", "SHAPES", "HeadUse", "OrderVariant", "RankDefinition",
            "RankResult", "Spectrum", "StageRank",
        ),
        "counting": (
            "DECODED_FORM", "DEPLOY_FORM", "OTHER_KINDS", "PLAIN_FORM", "CostResult", "CostRow", "FormRow", "TensorRow",
            "TensorsResult", "UncountedRow",
        ),
        "counters": ("CounterRow", "CounterTerm", "CountersResult"),
        "latency": ("DeviceRow", "DevicesResult", "Latency", "LatencyResult", "LatencyRow"),
        "comparing": (
            "Alternative", "DiffResult", "DiffRow", "LayerCostResult", "ScaleResult", "ScaleRow", "ZooResult", "ZooRow",
        ),
        "comparison": ("CompareResult", "ScoredRun"),
        "detection": (
            "CURVE_RECALLS", "CURVE_SCORES", "ClassScore", "Confusion", "Curve", "ErrorKind", "EvalResult",
            "LayerTransfer", "Scores", "TrainResult",
        ),
        "search": (
            "ACCEPTED", "INCONCLUSIVE", "REJECTED", "Baseline", "Change", "Finish", "FrontPoint", "GivenModel",
            "LibraryRow", "SearchResult", "Trial", "spelled",
        ),
        "stages": ("HEAD", "place_name", "stage_name"),
        "export": ("ExportResult",),
    },
)  # fmt: skip
