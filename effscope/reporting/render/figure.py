"""The plots of a page as png, svg or pdf."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial

from effscope.reporting.page import Page, Plot

ENDINGS = ("png", "svg", "pdf")

REPEATABLE = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata to omit, so that the same data give the same file."""


def render(ending: str, page: Page, formats: Sequence[str]) -> dict[str, Callable[[], bytes]]:
    """One file for each plot."""
    return {f"{part.name}.{ending}": partial(image, part, ending) for part in page.parts() if isinstance(part, Plot)}


def image(plot: Plot, ending: str) -> bytes:
    """A plot as an image file."""
    data = io.BytesIO()
    plot.draw(plot).savefig(data, format=ending, metadata=REPEATABLE[ending])
    return data.getvalue()
