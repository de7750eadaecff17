"""A page as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from effscope.reporting.page import Page, Part, Picture, Plot, Section, Table, Text

SHOWN = ("png", "svg")
"""Formats of plots that Markdown shows."""


def render(page: Page, formats: Sequence[str]) -> dict[str, Callable[[], bytes]]:
    """One file with all sections; it shows plots that are written as png or svg."""
    return {f"{page.name}.md": lambda: text(page, formats).encode()}


def text(page: Page, formats: Sequence[str] = SHOWN[:1]) -> str:
    """The page as Markdown. A page of one section has no heading, because its table has a title."""
    several = len(page.sections) > 1
    ending = next((ending for ending in SHOWN if ending in formats), "")
    blocks = [f"# {page.title}"] if several else []
    for section in page.sections:
        blocks += _section(section, ending)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section, ending: str) -> list[str]:
    heading = [f"## {section.title}"] if section.title else []
    return heading + [_part(part, ending) for part in section.parts]


def _part(part: Part, ending: str) -> str:
    """The Markdown of one part; empty if Markdown does not show it."""
    if isinstance(part, Table):
        return table(part)
    if isinstance(part, Text):
        return _list(part.lines)
    if isinstance(part, Plot) and ending:
        return f"![{part.title}]({part.name}.{ending})"
    if isinstance(part, Picture):
        return f"![{part.title}]({part.file})"
    return ""


def table(part: Table) -> str:
    """A GitHub table with its notes below."""
    marks = [":--" if column in part.left else "--:" for column in part.columns]
    lines = [_line(part.columns), _line(marks), *map(_line, part.rows)]
    blocks = [f"**{part.title}**", "\n".join(lines), _list(part.notes)]
    return "\n\n".join(block for block in blocks if block)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.strip().replace("|", "\\|") or " " for cell in cells) + " |"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
