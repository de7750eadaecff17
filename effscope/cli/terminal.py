"""Output of a running command: one line with progress and time left, and lines for the user."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from effscope.cli.flags import as_flags
from effscope.progress import Progress, Say, duration, leads, silent, unsaid

REDRAW_SECONDS = 0.2
LOG_SECONDS = 15.0
SHOW_AFTER_SECONDS = 1.0
WIDTH = 28
ENOUGH_TO_ESTIMATE = 0.005


class _Line:
    """One line on stderr: redrawn in place on a terminal, or printed every `LOG_SECONDS` into a log."""

    def __init__(self, columns: int, live: bool):
        self.columns, self.live = columns, live
        self.began = self.drawn = time.monotonic()
        self.shown = 0
        self.start: tuple[float, float] | None = None

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        every = REDRAW_SECONDS if self.live else LOG_SECONDS
        if now - self.drawn < every or now - self.began < SHOW_AFTER_SECONDS:
            return
        self.drawn = now
        spent = now - self.began
        if self.start is None or fraction < self.start[1]:
            self.start = (now, fraction)
        gained = fraction - self.start[1]
        known = gained > ENOUGH_TO_ESTIMATE
        left = f"about {duration((now - self.start[0]) * (1 - fraction) / gained)} left" if known else "estimating"
        done = round(WIDTH * fraction)
        bar = "━" * done + "╌" * (WIDTH - done)
        line = f"{bar} {100 * fraction:3.0f} %  {left}  {text}"[: self.columns - 1]
        if self.live:
            sys.stderr.write("\r" + line.ljust(self.shown))
            self.shown = len(line)
        else:
            sys.stderr.write(f"{duration(spent):>8}  {100 * fraction:3.0f} %  {left}  {text}\n")
        sys.stderr.flush()

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
