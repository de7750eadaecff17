"""What tests read off pages: the csv files, the first text, the width of a table."""

from __future__ import annotations

from effscope.reporting.page import Page, Table
from effscope.reporting.pages import pages
from effscope.reporting.render import csv as csv_files
from effscope.results import Result


def contents(page: Page) -> dict[str, bytes]:
    """The csv files of a page."""
    return {name: content() for name, content in csv_files.render(page, ()).items()}


def first_text(result: Result) -> str:
    part = pages(result)[0].sections[0].parts[0]
    return "" if isinstance(part, Table) else "\n".join(part.lines)  # type: ignore[union-attr]


def width(table: Table) -> int:
    """Characters of a table on a terminal."""
    names = tuple(column.strip() for column in table.columns)
    wide = [max(len(cell) for cell in cells) for cells in zip(names, *table.rows, strict=True)]
    return sum(wide) + 2 * (len(wide) - 1)
