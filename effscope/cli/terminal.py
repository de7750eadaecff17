"""Output of a running command: one line with progress and time left, and lines for the user, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from effscope.api.progress_line import drawn
from effscope.cli.flags import as_flags
from effscope.progress import Progress, Say, leads, silent, unsaid


@contextmanager
def display(quiet: bool) -> Iterator[tuple[Progress, Say]]:
    """A `Progress` that draws a line and a `Say` that prints above it; with `quiet` both do nothing."""
    if quiet or not leads():
        yield silent, unsaid
        return
    with drawn(sys.stderr, sys.stderr.isatty(), as_flags) as line:
        yield line, line.say
