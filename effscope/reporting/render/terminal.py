"""A page on a terminal: text and tables of its first section, or of all sections."""

from __future__ import annotations

import sys
from dataclasses import replace
from textwrap import fill
from typing import TYPE_CHECKING

from effscope.reporting.page import Page, Table, Text

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
"""Characters between two columns."""

PIPE_WIDTH = 120
"""Width of the output on a pipe or in a file, in characters."""

LEAST_TEXT = 16
"""Characters that the widest text column keeps when its cells are wrapped."""


def show(page: Page, details: bool = False) -> None:
    """Print with rich, as wide as the terminal; on a pipe, plain text of `PIPE_WIDTH` columns.

    Args:
        page: the page.
        details: print all sections, not only the first.
    """
    screen = console()
    for n, section in enumerate(page.sections if details else page.sections[:1]):
        shown = [part for part in section.parts if isinstance(part, (Text, Table))]
        if n and shown:
            screen.print(f"\n{section.title.upper()}")
        for m, part in enumerate(shown):
            if m or n:
                screen.print()
            _show_text(part, screen) if isinstance(part, Text) else _show_table(part, screen)


def say(line: str) -> None:
    """Print a line, wrapped between words."""
    _print(line, console())


def console() -> Console:
    """A console on standard output."""
    from rich.console import Console  # noqa: PLC0415 - slow import

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def _show_text(text: Text, screen: Console) -> None:
    for line in text.lines:
        if line:
            _print(line, screen)


def _print(line: str, screen: Console, style: str = "") -> None:
    """Print a line; if it is too long, it breaks between words and goes on indented."""
    from rich.text import Text as RichText  # noqa: PLC0415

    broken = fill(line, screen.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    screen.print(RichText(broken, style=style), soft_wrap=True)


def _show_table(table: Table, screen: Console) -> None:
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text as RichText  # noqa: PLC0415

    table = fitted(table, screen.width)
    columns = widths(table, screen.width)
    grid = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column, width in zip(table.columns, columns, strict=True):
        justify = "left" if column in table.left else "right"
        grid.add_column(column.strip(), justify=justify, header_style="dim", width=width, overflow="fold")  # type: ignore[arg-type]
    for row in table.rows:
        grid.add_row(*(RichText(cell) for cell in row))
    screen.print(RichText(table.title, style="bold"))
    screen.print(grid, width=max(screen.width, _total(columns)), crop=False)
    for note in table.notes:
        _print(note, screen, "dim")


def fitted(table: Table, width: int) -> Table:
    """The table without as many of its `narrow` columns as needed to fit the width in characters; a note names them."""
    dropped: list[str] = []
    for column in (column for column in table.narrow if column in table.columns):
        if _total(_natural(table)) <= width:
            break
        table = table.without(column)
        dropped += [column.strip()] * bool(column.strip())
    if not dropped:
        return table
    return replace(table, notes=(*table.notes, f"in a wider terminal also: {', '.join(dropped)}"))


def widths(table: Table, width: int) -> list[int]:
    """Characters of each column. If the table is too wide, its widest text column is narrower, and its cells wrap."""
    found = _natural(table)
    texts = [n for n, column in enumerate(table.columns) if column in table.left]
    if texts and (excess := _total(found) - width) > 0:
        widest = max(texts, key=lambda n: found[n])
        found[widest] = min(found[widest], max(LEAST_TEXT, found[widest] - excess))
    return found


def _natural(table: Table) -> list[int]:
    """Characters of the longest cell of each column."""
    names = tuple(column.strip() for column in table.columns)
    cells = [[len(cell) for cell in row] for row in (names, *table.rows)]
    return list(map(max, zip(*cells, strict=True)))


def _total(found: list[int]) -> int:
    return sum(found) + GAP * (len(found) - 1)
