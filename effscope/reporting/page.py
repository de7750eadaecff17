"""Pages of sections with text, tables, plots and rows. They are plain data; `render` draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effscope.results import Result

BAR_WIDTH = 12

DETAILS = "Details"
"""Title of the section after the answer."""


@dataclass(frozen=True)
class Text:
    """Lines of text, one fact per line; renderers skip empty lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of strings.

    Attributes:
        title: line above the table.
        columns: names; trailing spaces distinguish two columns with the same name.
        rows: one cell per column.
        left: left-aligned columns; the others hold numbers.
        notes: lines below the table.
        narrow: columns that a narrow terminal leaves out, in this order.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()

    def without(self, column: str) -> Table:
        """The table without one column, and without the notes that begin with its name and a colon."""
        n = self.columns.index(column)
        rows = tuple((*row[:n], *row[n + 1 :]) for row in self.rows)
        notes = tuple(note for note in self.notes if not note.startswith(f"{column.strip()}: "))
        return replace(self, columns=(*self.columns[:n], *self.columns[n + 1 :]), rows=rows, notes=notes)


@dataclass(frozen=True)
class Plot:
    """A plot: its data, and the function that draws them.

    Attributes:
        name: file name without the extension.
        title: line above the axes.
        rows: the data, a dict per mark.
        draw: makes a matplotlib figure of the plot.
        x, y: names of the axes.
    """

    name: str
    title: str
    rows: tuple[Mapping[str, Any], ...]
    draw: Callable[[Plot], Figure]
    x: str = ""
    y: str = ""


@dataclass(frozen=True)
class Rows:
    """Rows for other programs: the csv file `name`. Other renderers skip them."""

    name: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Picture:
    """An image file beside the page, which Markdown shows. Other renderers skip it."""

    title: str
    file: str


Part = Text | Table | Plot | Rows | Picture


@dataclass(frozen=True)
class Section:
    """A title, and parts in reading order."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Page:
    """Results for a reader.

    Attributes:
        title: heading of the page.
        sections: in reading order. A terminal shows only the first one, the answer, or all of them if asked; files have
            all sections.
        name: name of its text files, without the extension.
        result: saved together with the page; None if another page saves it.
        saved: name of that JSON file; `name`.json if empty.
        roles: key in `files` of the result -> file name.
    """

    title: str
    sections: tuple[Section, ...]
    name: str
    result: Result | None = None
    saved: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)

    def parts(self) -> tuple[Part, ...]:
        """The parts of all sections."""
        return tuple(part for section in self.sections for part in section.parts)


def single(
    name: str, result: Result, *parts: Part | None, title: str = "", details: Sequence[Part | None] = ()
) -> Page:
    """A page with the parts that are not None: the answer, and a section with details if there are any."""
    found, more = present(*parts), present(*details)
    tables = [part.title for part in found if isinstance(part, Table)]
    sections = (Section("", found), *((Section(DETAILS, more),) if more else ()))
    return Page(title or tables[0], sections, name, result)


def present(*parts: Part | None) -> tuple[Part, ...]:
    """The parts that are not None."""
    return tuple(part for part in parts if part is not None)


def warning(lines: Sequence[str]) -> Text | None:
    """The text above a table; None if there are no lines."""
    return Text(tuple(lines)) if lines else None


def short(n: float, units: Sequence[tuple[float, str]] = ((1e9, "G"), (1e6, "M"), (1e3, "k"))) -> str:
    """A count with a unit: 3157200 is "3.16 M"."""
    for size, unit in units:
        if n >= size:
            return f"{n / size:,.2f} {unit}"
    return f"{n:,.0f}"


def share(part: float, whole: float) -> str:
    """Percent of the whole; a dash if the whole is 0."""
    return f"{100 * part / whole:.1f}" if whole else "-"


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar of block characters, `width` cells for 1.0."""
    eighths = round(max(0.0, min(fraction, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def on_data(data: str, imgsz: int) -> str:
    """Data and image size, for titles: "on bccd/data.yaml, 256 px"."""
    return f"on {'/'.join(PurePath(data).parts[-2:])}, {imgsz} px"


def signed(change: float, digits: int = 1) -> str:
    """A number with its sign; no minus before zero: "+0.3", "0.0", "-1.2"."""
    text = f"{change:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def points(ap: float | None) -> str:
    """AP times 100, as papers print it; a dash for None."""
    return "-" if ap is None else f"{100 * ap:.1f}"
