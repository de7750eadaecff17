"""Plain data from JSON as frozen data."""

from __future__ import annotations

from typing import Any


def frozen(value: Any) -> Any:
    """Lists as tuples all the way down: JSON knows lists only."""
    return tuple(frozen(part) for part in value) if isinstance(value, list | tuple) else value
