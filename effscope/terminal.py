"""What the commands show while they work: a line with progress and time left, and errors in one line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from effscope.progress import Progress, silent

REDRAW_SECONDS = 0.2
LOG_SECONDS = 15.0
SHOW_AFTER_SECONDS = 1.0
WIDTH = 28


def duration(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `3:05`, `1:02:05`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Line:
    """One line on stderr, redrawn in place on a terminal, printed now and then into a log."""

    def __init__(self, columns: int, live: bool):
        self.columns, self.live = columns, live
        self.began = self.drawn = time.monotonic()
        self.shown = 0

    def __call__(self, fraction: float, text: str) -> None:
        now = time.monotonic()
        every = REDRAW_SECONDS if self.live else LOG_SECONDS
        if now - self.drawn < every or now - self.began < SHOW_AFTER_SECONDS:
            return
        self.drawn = now
        spent = now - self.began
        left = f"at most {duration(spent / fraction - spent)} left" if fraction > 0.005 else "estimating"  # noqa: PLR2004
        done = round(WIDTH * fraction)
        bar = "━" * done + "╌" * (WIDTH - done)
        line = f"{bar} {100 * fraction:3.0f} %  {left}  {text}"[: self.columns - 1]
        if self.live:
            sys.stderr.write("\r" + line.ljust(self.shown))
            self.shown = len(line)
        else:
            sys.stderr.write(f"{duration(spent):>8}  {100 * fraction:3.0f} %  {left}  {text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the terminal line empty."""
        if self.live and self.shown:
            sys.stderr.write("\r" + " " * self.shown + "\r")
            sys.stderr.flush()


@contextmanager
def progress_line(quiet: bool) -> Iterator[Progress]:
    """A progress that draws itself; silent with `quiet`."""
    if quiet:
        yield silent
        return
    import shutil  # noqa: PLC0415

    line = _Line(shutil.get_terminal_size().columns, sys.stderr.isatty())
    try:
        yield line
    finally:
        line.clear()
