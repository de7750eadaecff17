"""A page on a terminal: text and tables of its first section."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from effscope.reporting.page import Page, Table, Text

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Characters between two columns."""

PIPE_WIDTH = 120
"""Width of the output on a pipe or in a file, in characters."""


def show(page: Page) -> None:
    """Print with rich, as wide as the terminal; on a pipe, plain text of `PIPE_WIDTH` columns."""
    from rich.console import Console  # noqa: PLC0415 - slow import

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)
    for part in page.sections[0].parts:
        if isinstance(part, Text):
            _show_text(part, console)
        elif isinstance(part, Table):
            _show_table(part, console)


def _show_text(text: Text, console: Console) -> None:
    from rich.text import Text as RichText  # noqa: PLC0415

    for line in text.lines:
        console.print(RichText(line))


def _show_table(table: Table, console: Console) -> None:
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text as RichText  # noqa: PLC0415

    table = fitted(table, console.width)
    grid = RichTable(box=None, pad_edge=False)
    for column in table.columns:
        left = column in table.left
        grid.add_column(column.strip(), justify="left" if left else "right", header_style="dim", no_wrap=not left)
    for row in table.rows:
        grid.add_row(*(RichText(cell) for cell in row))
    console.print(RichText(table.title, style="bold"))
    console.print(grid)
    for note in table.notes:
        console.print(RichText(note, style="dim"))


def fitted(table: Table, width: int) -> Table:
    """The table without as many of its `narrow` columns as needed to fit the width in characters."""
    for column in (column for column in table.narrow if column in table.columns):
        cells = [[len(cell.strip()) for cell in row] for row in (table.columns, *table.rows)]
        if sum(map(max, zip(*cells, strict=True))) + GAP * (len(table.columns) - 1) <= width:
            break
        table = table.without(column)
    return table
