"""The rows of a page as csv files."""

from __future__ import annotations

from collections.abc import Sequence

from effscope.files import csv_text
from effscope.reporting.page import Page, Rows


def render(page: Page, formats: Sequence[str]) -> dict[str, bytes]:
    """One file for each non-empty `Rows`."""
    return {
        f"{part.name}.csv": csv_text(part.rows).encode()
        for part in page.parts()
        if isinstance(part, Rows) and part.rows
    }
