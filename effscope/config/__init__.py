"""Frozen settings of every command, with all defaults. A config checks its values when it is created."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.lazy import attach

if TYPE_CHECKING:
    from effscope.config.checks import *  # noqa: F403
    from effscope.config.counting import *  # noqa: F403
    from effscope.config.detection import *  # noqa: F403
    from effscope.config.image_size import *  # noqa: F403
    from effscope.config.latency import *  # noqa: F403
    from effscope.config.ranking import *  # noqa: F403
    from effscope.config.search import *  # noqa: F403
    from effscope.config.training import *  # noqa: F403

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "checks": (
            "IMGSZ_MULTIPLE", "Checked", "at_least", "check_names", "configured", "deciding", "fraction", "seconds_of",
            "to_dict",
        ),
        "image_size": (
            "IMAGE_CHANNELS", "ImageSize", "check_imgsz", "check_stride", "image_shape", "image_size",
            "read_image_size", "size_words", "square_side",
        ),
        "counting": (
            "CostConfig", "CountersConfig", "DiffConfig", "ExportConfig", "LayerCostConfig", "ScaleConfig", "ZooConfig",
        ),
        "detection": ("EvalConfig",),
        "latency": ("LatencyConfig", "LatencySettings"),
        "ranking": ("RankConfig", "RankSettings"),
        "search": (
            "FAMILIES", "MOVE_NAMES", "DistilConfig", "SearchConfig", "SearchSettings", "moves_of", "search_config",
            "targets_of",
        ),
        "training": (
            "BUILTIN_SHAPES", "PROXIES", "Proxy", "TrainConfig", "TrainSettings", "data_words", "proxy",
            "training_config",
        ),
    },
)  # fmt: skip
