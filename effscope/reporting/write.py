"""Write pages into a folder, every file completely or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from effscope.files import write_bytes
from effscope.reporting.page import Page
from effscope.reporting.pages import pages
from effscope.reporting.render import PLAIN, RENDERERS, Content
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
    rendered = _files(made, formats)
    for file, content in rendered.items():
        write_bytes(folder / file, content())
    results = {file: page.result for page in made if page.result is not None for file in [_saved(page)]}
    for file, result in reversed(results.items()):
        result.save(folder / file)
    return {file: str(folder / file) for file in (*results, *rendered)}


def _files(made: Sequence[Page], formats: Sequence[str]) -> dict[str, Content]:
    """Name of each file but the saved results -> its content."""
    contents: dict[str, Content] = {}
    for page in made:
        for name in formats:
            contents |= RENDERERS[name](page, formats)
    return contents


def _saved(page: Page) -> str:
    """File name of a page's result."""
    return page.saved or f"{page.name}.json"


def publish(result: R, folder: Path, formats: Sequence[str] = FORMATS) -> R:
    """Write the pages of a result that lists its files (a training, an evaluation, a search).

    Returns:
        The saved result, with every written file in `files`: by its role, or by its name if it has none.
    """
    made = pages(result)
    roles = {role: file for page in made for role, file in page.roles.items()}
    roles |= {file: file for file in _files(made, formats) if file not in roles.values()}
    files: dict[str, str] = result.files  # type: ignore[attr-defined]
    listed = replace(result, files=files | {role: str(folder / file) for role, file in roles.items()})  # type: ignore[call-arg]
    write(pages(listed), folder, formats)
    return listed
