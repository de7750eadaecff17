"""One command that answers several questions: each question is a function with its own options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from effscope.cli.options import OUTPUT
from effscope.errors import EffscopeError


@dataclass(frozen=True)
class Questions:
    """The functions behind one command.

    Attributes:
        help: help text of the command.
        functions: name of a question -> its function.
        choose: values of all options by name -> the key of the function. Raises EffscopeError if none fits.
    """

    help: str
    functions: Mapping[str, Callable[..., None]]
    choose: Callable[[Mapping[str, Any]], str]


def merged_params(commands: Sequence[Any]) -> list[Any]:
    """The parameters of all commands, each once; those of the output come last. No argument is required."""
    by_name = [{param.name: param for param in command.params} for command in commands]
    found = {name: param for params in by_name for name, param in params.items()}
    for param in found.values():
        param.required = False
    return sorted(found.values(), key=lambda param: getattr(param, "rich_help_panel", None) == OUTPUT)


def answer(asked: str, commands: Mapping[str, Any], context: Any) -> Any:
    """Call the function of a question with its own options.

    Raises:
        EffscopeError: an option on the command line belongs to other questions.
    """
    own = {param.name for param in commands[asked].params}
    for param in context.command.params:
        source = context.get_parameter_source(param.name)
        if param.name not in own and source is not None and source.name == "COMMANDLINE":
            homes = [name for name, command in commands.items() if param.name in {p.name for p in command.params}]
            raise EffscopeError(f"{param.opts[0]} has no effect on {asked}: use it with {' and '.join(homes)}")
    return commands[asked].callback(**{name: value for name, value in context.params.items() if name in own})
