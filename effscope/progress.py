"""Progress of a job made of parts: engines call a callback, the command line draws the progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Literal

Progress = Callable[[float, str], None]
"""Called with the fraction done, 0-1, and a short text."""


Say = Callable[[str], None]
"""Called with a line for the user: the plan, faults of the data."""

Auto = Literal["auto"]
"""The default of the Python functions: a bar, with lines above it, on a terminal and in a notebook, else nothing."""


def leads() -> bool:
    """Whether this process reports and writes: the only process, or rank 0 of the processes started together."""
    return together() <= 1 or int(os.environ.get("RANK") or 0) == 0


def together() -> int:
    """Number of processes started together; `accelerate launch` and `torchrun` set it."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def unsaid(line: str) -> None:
    """A `Say` that does nothing."""


def silent(fraction: float, text: str) -> None:
    """A `Progress` that does nothing."""


def duration(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `3:05`, `1:02:05`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Parts:
    """Splits one progress among parts of known weight, in any common unit.

    Args:
        report: called with the progress of the whole.
        total: sum of the weights of all parts.
    """

    def __init__(self, report: Progress, total: float):
        self.report, self.total, self.done = report, max(total, 1e-9), 0.0

    def part(self, weight: float, title: str) -> Progress:
        """The callback of the next part. From now on the part before it is finished. A title is reported at once."""
        start, self.done = self.done, self.done + weight

        def tell(fraction: float, text: str) -> None:
            line = ": ".join(part for part in (title, text) if part)
            self.report(min((start + weight * fraction) / self.total, 1.0), line)

        if title:
            tell(0.0, "")
        return tell
