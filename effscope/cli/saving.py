"""Output of results: tables on the terminal, JSON, csv, files in a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from effscope.files import csv_text, write_text
from effscope.results import json_text, save_results

if TYPE_CHECKING:
    from effscope.reporting.page import Page
    from effscope.results import Result


class Delivery(NamedTuple):
    """Destinations of results."""

    json: str | None = None
    csv: Path | None = None
    out: Path | None = None
    quiet: bool = False
    details: bool = False

    @property
    def silent(self) -> bool:
        """Whether tables are not printed: with --quiet, or if standard output is JSON."""
        return self.quiet or self.json == "-"


def deliver(results: Sequence[Result], to: Delivery, formats: Sequence[str] | None = None) -> None:
    """Show the pages of results, save the results, and write the pages into the folder.

    Args:
        results: results of one kind.
        to: destinations.
        formats: formats of the plots in the folder; default png.
    """
    show(lambda: _pages(results), to)
    save(results, to)
    if to.out is not None:
        write_folder(_pages(results), to, formats)


def finish(result: Result, to: Delivery) -> None:
    """Show the first page of a result, save it, and list the files that the API wrote into its folder."""
    show(lambda: _pages([result])[:1], to)
    save([result], to)
    list_files(result.files, to)  # type: ignore[attr-defined]


def _pages(results: Sequence[Result]) -> Sequence[Page]:
    from effscope.reporting.pages import pages  # noqa: PLC0415

    return pages(*results)


def show(pages: Callable[[], Sequence[Page]], to: Delivery) -> None:
    """Print pages, unless the output is silent or JSON."""
    if to.silent:
        return
    from effscope.reporting.render.terminal import show as show_page  # noqa: PLC0415

    for page in pages():
        show_page(page, to.details)


def save(results: Sequence[Result], to: Delivery) -> None:
    """Write JSON (one object, or a list of several) and csv (all main tables, one after the other)."""
    if to.json == "-":
        data = [result.to_dict() for result in results]
        sys.stdout.write(json_text(data[0] if len(data) == 1 else data) + "\n")
    elif to.json is not None:
        save_results(to.json, results)
    if to.csv is not None:
        many = len(results) > 1
        save_csv(to.csv, [{"model": _model(r), **row} if many else row for r in results for row in r.to_rows()])


def _model(result: Result) -> str:
    return str(getattr(result, "model", ""))


def save_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as csv."""
    write_text(path, csv_text(rows))


def write_folder(pages: Sequence[Page], to: Delivery, formats: Sequence[str] | None = None) -> None:
    """Write pages into the folder and list the files."""
    from effscope.reporting.render import PLAIN  # noqa: PLC0415
    from effscope.reporting.write import FORMATS, write  # noqa: PLC0415

    assert to.out is not None
    list_files(write(pages, to.out, FORMATS if formats is None else (*PLAIN, *formats)), to)


def list_files(files: dict[str, str], to: Delivery) -> None:
    """Print the names of the written files in one line, unless the output is silent or JSON."""
    if not files or to.silent:
        return
    from effscope.reporting.render.terminal import say  # noqa: PLC0415

    folder = Path(os.path.commonpath([Path(file).parent for file in files.values()]))
    say(f"files in {folder}: " + ", ".join(dict.fromkeys(str(Path(f).relative_to(folder)) for f in files.values())))
