"""effscope finds where a vision model wastes compute. The functions here are the commands; nothing slow is imported."""

from __future__ import annotations

from effscope.lazy import attach

COMMANDS = ("cost", "diff", "eval", "export", "layer_cost", "rank", "ranks", "scaled_cost", "search", "train", "zoo")

__getattr__, __dir__, __all__ = attach(__name__, {"api": COMMANDS})
