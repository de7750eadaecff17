"""Errors are one line."""

from __future__ import annotations

import pytest

from effscope.errors import first_line


@pytest.mark.parametrize(
    ("message", "printed", "line"),
    [
        ("one", "", "one"),
        ("one\ntwo", "", "one"),
        ("\n  \n  one  \ntwo", "printed", "one"),
        ("", "\nprinted\nmore", "printed"),
        ("", "", "ValueError"),
        (" \n ", "", "ValueError"),
    ],
)
def test_the_first_line_with_text_stands_for_an_error(message: str, printed: str, line: str) -> None:
    assert first_line(ValueError(message), printed) == line
