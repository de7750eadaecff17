"""Output of results: tables on the terminal, JSON, csv, files in a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from effscope.errors import EffscopeError
from effscope.files import csv_text, write_text
from effscope.results import json_text, save_results

if TYPE_CHECKING:
    from effscope.reporting.page import Page
    from effscope.results import Result


OF_RUNS = ("model.safetensors", "model.yaml", "base.safetensors")
"""Models that a training or a search writes into its folder."""


RESULT_HEAD = 200
"""A saved result says its format version within so many bytes."""


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


def check_places(places: Mapping[str, Any], given: Iterable[str | Sequence[str]], models: Sequence[str] = ()) -> None:
    """Check where results go, before any work.

    Args:
        places: `json`, `csv` and `out` of the command, among others.
        given: models and data of the command: texts or lists, also with commas or patterns.
        models: names of the models that the command writes into `out`.

    Raises:
        EffscopeError: a file in the place of a folder or a folder in the place of a file, a csv on standard output, or
            a place where a file of `given` is.
    """
    named = {name: Path(places[name]) for name in ("json", "csv", "out") if places.get(name) is not None}
    for name in ("csv", "out"):
        if str(named.get(name)) == "-":
            raise EffscopeError(f"`{name}` needs a name; only `json` takes -, which prints the result")
    out = named.pop("out", None)
    files = {name: file for name, file in named.items() if str(file) != "-"}
    for name, file in files.items():
        if file.is_dir():
            raise EffscopeError(f"`{name}`: {file} is a folder; give the name of a file")
    if len({file.resolve() for file in files.values()}) < len(files):
        raise EffscopeError(f"`json` and `csv` name the same file, {files['csv']}: give two names")
    nearest = next((path for path in (out, *out.parents) if path.exists()), None) if out is not None else None
    if nearest is not None and not nearest.is_dir():
        raise EffscopeError(f"`out` needs a folder, and {nearest} is a file: choose another `out`")
    kept = [path for words in given for path in _paths(words)]
    if not kept:
        return
    from effscope.models.naming import check_overwrites  # noqa: PLC0415 - the built-in models

    for name, file in files.items():
        check_overwrites([file], *kept, *_inside(file, kept), setting=name)
    if out is not None:
        check_overwrites([out / name for name in models], *kept)


def _inside(file: Path, given: Sequence[Path]) -> list[Path]:
    """The file itself, if it is in one of the folders and effscope did not write it: then it belongs to the data."""
    place = file.resolve()
    if not place.exists() or place.suffix == ".csv" or not any(path.resolve() in place.parents for path in given):
        return []
    with place.open("rb") as stream:
        return [] if b'"format_version"' in stream.read(RESULT_HEAD) else [place]


def _paths(words: str | Sequence[str]) -> list[Path]:
    """The files and folders that exist, of texts like a.pt,b.pt or coco:folder or runs/a-*."""
    from effscope.searching.sides import named  # noqa: PLC0415

    found = []
    for word in [words] if isinstance(words, str) else words:
        with suppress(EffscopeError):
            found += [Path(part) for name in (word, word.partition(":")[2]) if name for part in named(name)]
    return [path for path in found if path.exists()]


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
