"""Output of a running command: one line with progress and time left, and lines for the user."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from effscope.cli.flags import as_flags
from effscope.progress import Progress, Say, duration, leads, silent, unsaid

REDRAW_SECONDS = 0.2
LOG_SECONDS = 15.0
SHOW_AFTER_SECONDS = 1.0
WIDTH = 28
ENOUGH_TO_ESTIMATE = 0.005
RECENT_SECONDS, RECENT_FRACTION = 60.0, 0.02
"""The time left follows the speed of the last minute; of longer, if less than this fraction was done in it."""


class _Line:
    """One line on stderr: redrawn in place on a terminal, or printed every `LOG_SECONDS` into a log."""

    def __init__(self, columns: int, live: bool):
        self.columns, self.live = columns, live
        self.began = self.drawn = time.monotonic()
        self.shown = 0
        self.recent = deque[tuple[float, float]]()  # (seconds, fraction) at each drawing

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        every = REDRAW_SECONDS if self.live else LOG_SECONDS
        if now - self.drawn < every or now - self.began < SHOW_AFTER_SECONDS:
            return
        self.drawn = now
        spent = now - self.began
        left = self._left(now, fraction)
        done = round(WIDTH * fraction)
        bar = "━" * done + "╌" * (WIDTH - done)
        line = f"{bar} {100 * fraction:3.0f} %  {left}  {text}"[: self.columns - 1]
        if self.live:
            sys.stderr.write("\r" + line.ljust(self.shown))
            self.shown = len(line)
        else:
            sys.stderr.write(f"{duration(spent):>8}  {100 * fraction:3.0f} %  {left}  {text}\n")
        sys.stderr.flush()

    def _left(self, now: float, fraction: float) -> str:
        """The time left, in words. A fraction that goes back begins another job."""
        recent = self.recent
        if recent and fraction < recent[-1][1]:
            recent.clear()
        recent.append((now, fraction))
        while len(recent) > 1 and now - recent[1][0] >= RECENT_SECONDS and fraction - recent[1][1] >= RECENT_FRACTION:
            recent.popleft()
        since, before = recent[0]
        gained = fraction - before
        if gained <= ENOUGH_TO_ESTIMATE:
            return "estimating"
        return f"about {duration((now - since) * (1 - fraction) / gained)} left"

    def say(self, text: str) -> None:
        """Print a separate line that is not redrawn."""
        self.clear()
        sys.stderr.write(as_flags(text) + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Clear the terminal line."""
        if self.live and self.shown:
            sys.stderr.write("\r" + " " * self.shown + "\r")
            sys.stderr.flush()


@contextmanager
def display(quiet: bool) -> Iterator[tuple[Progress, Say]]:
    """A `Progress` that draws a line and a `Say` that prints above it; with `quiet` both do nothing."""
    if quiet or not leads():
        yield silent, unsaid
        return
    line = _Line(shutil.get_terminal_size().columns, sys.stderr.isatty())
    try:
        yield line, line.say
    finally:
        line.clear()
