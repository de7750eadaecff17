"""Pages of results. Each kind of result (`rank`, `cost`, ...) has a module with its pages."""

from __future__ import annotations

from importlib import import_module

from effscope.errors import EffscopeError
from effscope.reporting.page import Page
from effscope.results import Result

TOGETHER = ("rank",)
"""Kinds with pages for several results together."""


def pages(*results: Result) -> tuple[Page, ...]:
    """The pages of a result. Several rankings get one page each and one page that compares them.

    Raises:
        EffscopeError: no result, or several results of a kind without common pages.
    """
    kinds = {result.KIND for result in results}
    if len(kinds) != 1 or (len(results) > 1 and not kinds <= {*TOGETHER}):
        raise EffscopeError(f"pages show one result, or several of kind {', '.join(TOGETHER)}: got {len(results)}")
    found: tuple[Page, ...] = import_module(f"{__name__}.{kinds.pop()}").pages(*results)
    return found
