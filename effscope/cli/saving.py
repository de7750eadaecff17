"""What a command does with its result: a table on the terminal, JSON, csv, files in a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from effscope.files import write_text
from effscope.results import json_text, save_results

if TYPE_CHECKING:
    from effscope.reporting.tables import Table
    from effscope.results import Result

R = TypeVar("R", bound="Result")


def deliver(
    name: str, result: R, draw: Callable[[R], Table], json: str | None, csv: Path | None, out: Path | None, quiet: bool
) -> None:
    """Show a result's table, save it, and write NAME.json, NAME.csv and NAME.md into the folder."""
    show(lambda: draw(result), quiet, json)
    save([result], json, csv)
    if out is not None:
        from effscope.reporting.folder import write_table  # noqa: PLC0415

        list_files(write_table(out, name, result, draw(result)), quiet, json)


def show(table: Callable[[], Table], quiet: bool, json: str | None) -> None:
    """Print a table, unless nothing or only JSON is to be printed."""
    if quiet or json == "-":
        return
    from effscope.reporting.render import to_terminal  # noqa: PLC0415

    to_terminal(table())


def save(results: Sequence[Any], json: str | None, csv: Path | None) -> None:
    """JSON as the contract says: one object, or a list for several; csv of all main tables one below the other."""
    if json is not None:
        if json == "-":
            data = [result.to_dict() for result in results]
            sys.stdout.write(json_text(data[0] if len(data) == 1 else data) + "\n")
        else:
            save_results(json, results)
    if csv is not None:
        many = len(results) > 1
        save_csv(csv, [{"model": r.model, **row} if many else row for r in results for row in r.to_rows()])


def save_csv(place: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as csv."""
    from effscope.reporting.render import to_csv  # noqa: PLC0415

    write_text(place, to_csv(rows))


def list_files(files: dict[str, str], quiet: bool, json: str | None) -> None:
    """One line that names the written files, unless nothing or only JSON is to be printed."""
    if files and not quiet and json != "-":
        folder = Path(next(iter(files.values()))).parent
        print(f"files in {folder}: " + ", ".join(Path(f).name for f in files.values()))
