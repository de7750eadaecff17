"""Functions with `**settings` show every setting in their signature and in `help`, with its default."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import fields
from inspect import Parameter, signature
from typing import Any, TypeVar

from effscope.config import Checked

F = TypeVar("F", bound=Callable[..., Any])

WIDTH, INDENT = 120, "        "
_SETTINGS = re.compile(rf"^{INDENT}settings: .*\n(?:{INDENT} +.*\n)*", re.MULTILINE)


def with_settings(config: type[Checked], typed: Any) -> Callable[[F], F]:
    """A decorator that puts the settings into a function's signature and docstring.

    Args:
        config: has the defaults and, in `ABOUT`, a line on every field.
        typed: the TypedDict of the function's `**settings`; where it allows None, None is the default.
    """
    own = {field.name: field.default for field in fields(config)}  # type: ignore[arg-type]
    found = []
    for name, hint in typed.__annotations__.items():
        annotation = str(getattr(hint, "__forward_arg__", hint))
        default = None if "None" in annotation else own[name]
        found.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))

    def decorate(function: F) -> F:
        lines = "".join(_line(one.name, config.ABOUT[one.name], one.default) for one in found)
        function.__doc__ = _SETTINGS.sub(lambda _: lines, function.__doc__ or "")
        return with_keywords(found)(function)

    return decorate


def with_keywords(keywords: Iterable[Parameter]) -> Callable[[F], F]:
    """A decorator that shows keywords instead of `**settings` in a function's signature."""

    def decorate(function: F) -> F:
        shown = signature(function)
        named = [one for one in shown.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        function.__dict__["__signature__"] = shown.replace(parameters=[*named, *keywords])
        return function

    return decorate


def _line(name: str, about: str, default: object) -> str:
    """The lines of a setting in a docstring."""
    text = f"{name}: {about}" + ("" if default is None else f"; default: {default}") + "."
    further = f"{INDENT}    "
    return textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=further, break_on_hyphens=False) + "\n"
