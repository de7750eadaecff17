"""What a long call shows while it runs: one line with a bar and the time left, and the lines for the user above it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, RLock, Thread
from typing import TextIO

from effscope.progress import Auto, Progress, Say, duration, leads, silent, unsaid

REDRAW_SECONDS = 0.2
NOTEBOOK_SECONDS = 0.5
LOG_SECONDS = 15.0
SHOW_AFTER_SECONDS = 1.0
WIDTHS = (28, 20, 14, 8)
"""Lengths of the bar: the longest that leaves the text its place, else the shortest."""

ENOUGH_TO_ESTIMATE = 0.005
RECENT_SECONDS, RECENT_FRACTION = 60.0, 0.02
"""The time left follows the speed of the last minute; of longer, if less than this fraction was done in it."""

LONG_PATH = 16
"""A path in a text is not shortened below this length."""


@contextmanager
def shown(progress: Progress | Auto | None, say: Say | Auto | None) -> Iterator[tuple[Progress, Say]]:
    """The callbacks of a Python function.

    Args:
        progress: the user's callback; "auto": a bar on a terminal and in a notebook, else nothing; None: nothing.
        say: the user's callback; "auto": the lines are printed where the bar is; None: nothing.
    """
    automatic = progress == "auto"
    stream = _stream() if automatic and leads() else None
    if stream is None:
        yield _given(progress, silent), _given(say, unsaid)
        return
    with drawn(stream, live=True) as line:
        yield line, line.say if say == "auto" else _given(say, unsaid)


def _given(callback: Callable[..., None] | Auto | None, nothing: Callable[..., None]) -> Callable[..., None]:
    return nothing if callback is None or isinstance(callback, str) else callback


def _stream() -> TextIO | None:
    """Where a bar can be drawn: the output of a notebook's cell, or stderr if it is a terminal; None: nowhere."""
    if in_notebook():
        return sys.stdout
    return sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Whether IPython's kernel runs this code: in Jupyter, VS Code, Colab."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_ipython is None else get_ipython()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


@contextmanager
def drawn(stream: TextIO, live: bool, words: Callable[[str], str] = str) -> Iterator[Line]:
    """A line in a stream, until the end of the block.

    Args:
        stream: a terminal, the output of a notebook, or a log.
        live: whether the line is redrawn in place; else lines are printed one below the other.
        words: changes the text of the lines for the user.
    """
    line = Line(stream, live, words)
    stop = Event()
    clock = Thread(target=line.keep_drawing, args=(stop,), daemon=True)
    if live:
        clock.start()
    try:
        yield line
    finally:
        stop.set()
        if live:
            clock.join()
        line.clear()


class Line:
    """One line: redrawn in place, or printed every `LOG_SECONDS` into a log.

    A job that says nothing for long keeps its last text on the line: a thread draws what came too soon to be drawn.
    """

    def __init__(self, stream: TextIO, live: bool, words: Callable[[str], str] = str):
        self.stream, self.live, self.words = stream, live, words
        self.is_terminal = live and stream.isatty()
        self.every = LOG_SECONDS if not live else REDRAW_SECONDS if self.is_terminal else NOTEBOOK_SECONDS
        self.began = self.drawn = time.monotonic()
        self.shown = 0
        self.waiting: tuple[float, str] | None = None
        self.recent = deque[tuple[float, float]]()  # (seconds, fraction) at each drawing
        self.lock = RLock()

    def __call__(self, fraction: float, text: str) -> None:
        with self.lock:
            self.waiting = fraction, text
            self.draw()

    def draw(self) -> None:
        """Draw what waits, unless the last drawing was just now."""
        now = time.monotonic()
        if self.waiting is None or now - self.drawn < self.every or now - self.began < SHOW_AFTER_SECONDS:
            return
        (fraction, text), self.waiting, self.drawn = self.waiting, None, now
        left = self._left(now, fraction)
        if self.live:
            columns = shutil.get_terminal_size().columns
            self._replace(fitted(fraction, left, text, columns - 1, _is_unicode(self.stream)), columns)
        else:
            self._write(f"{duration(now - self.began):>8}  {100 * fraction:3.0f} %  {left}  {text}\n")

    def keep_drawing(self, stop: Event) -> None:
        """Draw what waits, again and again, until `stop` is set."""
        while not stop.wait(self.every):
            with self.lock:
                self.draw()

    def say(self, text: str) -> None:
        """Print a separate line that is not redrawn; a terminal gets it wrapped at words."""
        with self.lock:
            self.clear()
            said = self.words(text)
            self._write((wrapped(said, shutil.get_terminal_size().columns) if self.is_terminal else said) + "\n")

    def clear(self) -> None:
        """Clear the line."""
        with self.lock:
            if self.live and self.shown:
                self._replace("", shutil.get_terminal_size().columns)
                self.shown = 0

    def _replace(self, line: str, columns: int) -> None:
        """Write a line over the one that is shown. In a narrower terminal that one has become several rows."""
        rows = -(-self.shown // columns) if self.is_terminal and os.environ.get("TERM") != "dumb" else 1
        up = f"\r\033[{rows - 1}A\033[J" if rows > 1 else "\r"
        padded = line if rows > 1 else line.ljust(min(self.shown, columns - 1))
        self._write(up + padded + ("" if line else "\r"))
        self.shown = len(line)

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()

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


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def fitted(fraction: float, left: str, text: str, room: int, unicode: bool = True) -> str:
    """Bar, percentage, time left and text in at most `room` characters: first the bar gets shorter, then the text."""
    done, todo, dots = ("━", "╌", "…") if unicode else ("#", "-", "...")
    middle = f" {100 * fraction:3.0f} %  {left}"
    width = next((width for width in WIDTHS if width + len(middle) + 2 + len(text) <= room), WIDTHS[-1])
    if width + len(middle) > room:
        return middle.strip()[:room]
    bar = round(width * fraction)
    line = done * bar + todo * (width - bar) + middle
    short = shortened(text, room - len(line) - 2, dots)
    return f"{line}  {short}" if short else line


def shortened(text: str, room: int, dots: str = "…") -> str:
    """A text in at most `room` characters: a path loses its middle, then whole words are left out at the end."""
    if len(text) <= room:
        return text
    path = max((word for word in text.split() if "/" in word or "\\" in word), key=len, default="")
    if len(path) > LONG_PATH:
        keep = max(len(path) - (len(text) - room), LONG_PATH) - len(dots)
        tail = max(keep * 2 // 3, 1)
        text = text.replace(path, path[: keep - tail] + dots + path[-tail:])
        if len(text) <= room:
            return text
    ends = [n for n, sign in enumerate(text) if sign == " " and n + len(dots) <= room]
    words = text[: ends[-1]].rstrip() if ends else ""
    return words + dots if words else ""


def wrapped(text: str, columns: int) -> str:
    """A text in lines of at most `columns` characters, broken between words; later lines are indented."""
    indent = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        text, max(columns, 20), subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)
