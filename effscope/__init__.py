"""effscope finds where a vision model wastes compute. Each command is a function; imports are lazy."""

from __future__ import annotations

from effscope.lazy import attach

COMMANDS = (
    "cost", "counters", "devices", "diff", "eval", "export", "latency", "layer_cost", "rank", "ranks", "scaled_cost",
    "search", "train", "zoo",
)  # fmt: skip

__getattr__, __dir__, __all__ = attach(
    __name__, {"api": COMMANDS, "errors": ("EffscopeError",), "results": ("load_result",)}
)
