"""Convert lists from JSON to tuples."""

from __future__ import annotations

from typing import Any


def frozen(value: Any) -> Any:
    """The value with all lists, also nested ones, as tuples."""
    return tuple(frozen(part) for part in value) if isinstance(value, list | tuple) else value
