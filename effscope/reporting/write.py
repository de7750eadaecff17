"""Write pages into a folder, every file completely or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from effscope.files import write_bytes
from effscope.reporting.page import Page
from effscope.reporting.pages import pages
from effscope.reporting.render import PLAIN, RENDERERS
from effscope.results import Result

FORMATS = (*PLAIN, "png")

R = TypeVar("R", bound=Result)


def write(made: Sequence[Page], folder: Path, formats: Sequence[str] = FORMATS) -> dict[str, str]:
    """Write pages, then their results as JSON: a saved result is there only with all its files.

    Args:
        made: pages with different names.
        folder: created if it does not exist.
        formats: keys of `RENDERERS`.

    Returns:
        Name of each file -> its path.
    """
    files: dict[str, str] = {}
    results: dict[Path, Result] = {}
    for page in made:
        if page.result is not None:
            place = folder / (page.saved or f"{page.name}.json")
            results[place] = page.result
            files[place.name] = str(place)
        for name in formats:
            for file, content in RENDERERS[name](page, formats).items():
                write_bytes(folder / file, content)
                files[file] = str(folder / file)
    for place, result in reversed(results.items()):
        result.save(place)
    return files


def publish(result: R, folder: Path, formats: Sequence[str] = FORMATS) -> R:
    """Write the pages of a result that lists its files (a training, an evaluation, a search).

    Returns:
        The saved result, with the written files in `files`.
    """
    roles = {role: file for page in pages(result) for role, file in page.roles.items()}
    files: dict[str, str] = result.files  # type: ignore[attr-defined]
    listed = replace(result, files=files | {role: str(folder / file) for role, file in roles.items()})  # type: ignore[call-arg]
    write(pages(listed), folder, formats)
    return listed
