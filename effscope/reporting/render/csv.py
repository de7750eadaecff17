"""The rows of a page as csv files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from effscope.files import csv_text
from effscope.reporting.page import Page, Rows


def render(page: Page, formats: Sequence[str]) -> dict[str, Callable[[], bytes]]:
    """One file for each non-empty `Rows`."""
    return {
        f"{part.name}.csv": partial(_content, part) for part in page.parts() if isinstance(part, Rows) and part.rows
    }


def _content(part: Rows) -> bytes:
    return csv_text(part.rows).encode()
