"""Pages of results. The module of a kind (`rank`, `cost`, ...) says what a reader sees of it."""

from __future__ import annotations

from importlib import import_module

from effscope.errors import EffscopeError
from effscope.reporting.page import Page
from effscope.results import Result

TOGETHER = ("rank",)
"""Kinds of which several results have pages together."""


def pages(*results: Result) -> tuple[Page, ...]:
    """The pages of a result; of several rankings a page each and one that compares them.

    Raises:
        EffscopeError: several results that are not shown together, or none.
    """
    kinds = {result.KIND for result in results}
    if len(kinds) != 1 or (len(results) > 1 and not kinds <= {*TOGETHER}):
        raise EffscopeError(f"pages show one result, or several of kind {', '.join(TOGETHER)}: got {len(results)}")
    found: tuple[Page, ...] = import_module(f"{__name__}.{kinds.pop()}").pages(*results)
    return found
