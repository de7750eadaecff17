"""Renderers of pages, by format. A new format is one more file and one more line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from effscope.errors import unknown
from effscope.reporting.page import Page
from effscope.reporting.render import csv, figure, markdown

Renderer = Callable[[Page, Sequence[str]], dict[str, bytes]]
"""Page, formats that are written -> name of a file -> its content."""

RENDERERS: dict[str, Renderer] = {
    "csv": csv.render,
    "md": markdown.render,
    **{ending: partial(figure.render, ending) for ending in figure.ENDINGS},
}
"""Ending of a file -> what writes such files."""

PLAIN = ("csv", "md")
"""Formats that every folder has, beside JSON."""


def plot_formats(text: str) -> tuple[str, ...]:
    """Formats of plots from a text with commas. Raises EffscopeError for an unknown one."""
    formats = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for name in formats:
        if name not in figure.ENDINGS:
            raise unknown("`plots`", name, figure.ENDINGS)
    return formats
