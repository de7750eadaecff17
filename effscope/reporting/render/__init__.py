"""Renderers of pages by format. A new format needs one file and one line in `RENDERERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from effscope.errors import unknown
from effscope.reporting.page import Page
from effscope.reporting.render import csv, figure, markdown

Content = Callable[[], bytes]
"""Makes the content of a file."""

Renderer = Callable[[Page, Sequence[str]], Mapping[str, Content]]
"""(page, all formats of this call) -> {file name: its content}."""

RENDERERS: dict[str, Renderer] = {
    "csv": csv.render,
    "md": markdown.render,
    **{ending: partial(figure.render, ending) for ending in figure.ENDINGS},
}
"""File extension -> renderer."""

PLAIN = ("csv", "md")
"""Formats of every folder, in addition to JSON."""


def plot_formats(text: str) -> tuple[str, ...]:
    """Plot formats from a string with commas. Raises EffscopeError for an unknown format."""
    formats = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    for name in formats:
        if name not in figure.ENDINGS:
            raise unknown("`plots`", name, figure.ENDINGS)
    return formats
