"""Progress of a job made of parts: every engine reports to a callback, the command line draws it."""

from __future__ import annotations

import os
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Told the fraction done, 0-1, and a short text."""


Say = Callable[[str], None]
"""Told, once, a line the user should read: the plan, faults of the data."""


def leads() -> bool:
    """Whether this process is the one that reports and writes, of those started together; the only one usually is."""
    return together() <= 1 or int(os.environ.get("RANK") or 0) == 0


def together() -> int:
    """How many processes were started together, as `accelerate launch` and `torchrun` tell them."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def unsaid(line: str) -> None:
    """A `Say` that says nothing."""


def silent(fraction: float, text: str) -> None:
    """A progress that shows nothing."""


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
        report: where the whole is told to.
        total: sum of the weights of all parts.
    """

    def __init__(self, report: Progress, total: float):
        self.report, self.total, self.done = report, max(total, 1e-9), 0.0

    def part(self, weight: float, title: str) -> Progress:
        """A progress for the next part; the part before it counts as finished from here on."""
        start, self.done = self.done, self.done + weight

        def tell(fraction: float, text: str) -> None:
            line = ": ".join(part for part in (title, text) if part)
            self.report(min((start + weight * fraction) / self.total, 1.0), line)

        tell(0.0, "")
        return tell
