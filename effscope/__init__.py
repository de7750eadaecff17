"""effscope finds where a vision model wastes compute. Each command is a function; imports are lazy."""

from __future__ import annotations

import os
import sys
from typing import Any

from effscope.lazy import attach

WAITS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""Variables of OpenMP (any, GNU's, LLVM's): a thread without work soon sleeps and leaves its core to others."""


def _wait_asleep() -> None:
    """Set `WAITS`, for this process and its children. OpenMP reads them when torch loads; a user's own value wins."""
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITS):
        os.environ.update(WAITS)


_wait_asleep()

COMMANDS = (
    "compare", "cost", "counters", "devices", "diff", "eval", "export", "latency", "layer_cost", "rank", "ranks",
    "scaled_cost", "search", "train", "zoo",
)  # fmt: skip

_attribute, __dir__, __all__ = attach(
    __name__, {"api": COMMANDS, "errors": ("EffscopeError",), "results": ("load_result",)}
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from effscope.results import version  # noqa: PLC0415

        return version("effscope")
    return _attribute(name)
