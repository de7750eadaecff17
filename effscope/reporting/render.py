"""Draws a Table: on a terminal, as Markdown, as csv."""

from __future__ import annotations

import csv
import io
import sys
from typing import Any

from effscope.reporting.tables import Table

GAP = 2
"""Characters between two columns."""


def to_terminal(table: Table) -> None:
    """Print with rich, as wide as the terminal; on a pipe, plain text of 120 columns."""
    from rich.console import Console  # noqa: PLC0415 - slow import
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, highlight=False)
    table = fitted(table, console.width)
    grid = RichTable(title=table.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in table.columns:
        left = column in table.left
        grid.add_column(column.strip(), justify="left" if left else "right", header_style="dim", no_wrap=not left)
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)
    for note in table.notes:
        console.print(Text(note, style="dim"))


def fitted(table: Table, width: int) -> Table:
    """The table without as many of its `narrow` columns as make it fit a width in characters."""
    for column in (column for column in table.narrow if column in table.columns):
        cells = [[len(cell.strip()) for cell in row] for row in (table.columns, *table.rows)]
        if sum(map(max, zip(*cells, strict=True))) + GAP * (len(table.columns) - 1) <= width:
            break
        table = table.without(column)
    return table


def to_markdown(table: Table) -> str:
    """A GitHub table with the notes below."""
    marks = [":--" if column in table.left else "--:" for column in table.columns]
    lines = [f"**{table.title}**", "", _line(table.columns), _line(marks), *map(_line, table.rows), ""]
    return "\n".join([*lines, *(f"- {note}" for note in table.notes), ""])


def _line(cells: Any) -> str:
    return "| " + " | ".join(cell.strip() or " " for cell in cells) + " |"


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as csv text with a header; a key a row lacks is left empty, sequences are joined by spaces."""
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for k, v in row.items()})
    return text.getvalue()
