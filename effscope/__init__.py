"""effscope finds where a vision model wastes compute. The functions here are the commands; nothing slow is imported."""

from __future__ import annotations

from typing import Any

COMMANDS = ("cost", "diff", "eval", "export", "layer_cost", "rank", "ranks", "scaled_cost", "search", "train", "zoo")

__all__ = list(COMMANDS)


def __getattr__(name: str) -> Any:
    if name in COMMANDS:
        from effscope import api  # noqa: PLC0415

        return getattr(api, name)
    raise AttributeError(f"module 'effscope' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *COMMANDS])
