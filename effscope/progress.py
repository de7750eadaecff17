"""Progress of a job made of parts: every engine reports to a callback, the command line draws it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Told the fraction done, 0-1, and a short text."""


def silent(fraction: float, text: str) -> None:
    """A progress that shows nothing."""


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
            self.report(min((start + weight * fraction) / self.total, 1.0), f"{title}: {text}" if text else title)

        tell(0.0, "")
        return tell
