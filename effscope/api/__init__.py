"""The Python API: one function per command, with the same name and arguments; it returns a result object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effscope.lazy import attach

if TYPE_CHECKING:
    from effscope.api.counting import *  # noqa: F403
    from effscope.api.detection import *  # noqa: F403
    from effscope.api.exporting import *  # noqa: F403
    from effscope.api.layers import *  # noqa: F403
    from effscope.api.ranking import *  # noqa: F403
    from effscope.api.timing import *  # noqa: F403
    from effscope.api.training import *  # noqa: F403

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ranking": ("rank", "ranks"),
        "counting": ("cost", "counters", "scaled_cost", "diff", "zoo"),
        "timing": ("latency", "devices"),
        "layers": ("layer_cost",),
        "training": ("train", "search"),
        "detection": ("compare", "eval"),
        "exporting": ("export",),
    },
)
