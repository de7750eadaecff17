"""The table of commands and their modules. A command is imported and built on its first use."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from effscope.cli.questions import Questions, answer, merged_params

HOMES = {
    "rank": "ranking",
    "cost": "cost",
    "diff": "counting",
    "latency": "timing",
    "devices": "timing",
    "train": "training",
    "eval": "training",
    "compare": "comparing",
    "search": "training",
    "export": "exporting",
    "zoo": "counting",
}
"""Command -> module in this package with the function of the same name, in the order of `--help`."""


class Command(TyperCommand):
    """A command that turns the garbage collector on when it starts; imported objects are never collected."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command with the garbage collector on."""
        gc.freeze()
        gc.enable()
        return self.answer(ctx)

    def answer(self, ctx: Any) -> Any:
        """Call the command's function."""
        return super().invoke(ctx)


class Commands(Mapping[str, Any]):
    """Name -> typer's command."""

    def __getitem__(self, name: str) -> Any:
        return _built(name, HOMES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(HOMES)

    def __len__(self) -> int:
        return len(HOMES)


@cache  # `--help` asks for each of them several times
def _built(name: str, home: str) -> Any:
    function = getattr(import_module(f"effscope.cli.{home}"), name)
    return _merged(name, function) if isinstance(function, Questions) else _single(name, function)


def _single(name: str, function: Callable[..., None]) -> Any:
    single = typer.Typer(add_completion=False)
    single.command(name, cls=Command)(function)
    return get_command(single)


def _merged(name: str, questions: Questions) -> Any:
    """One command with the options of all questions; the options select the function to call."""
    commands = {asked: _single(name, function) for asked, function in questions.functions.items()}

    class Asking(Command):
        def answer(self, ctx: Any) -> Any:
            return answer(questions.choose(ctx.params), commands, ctx)

    return Asking(name, params=merged_params(list(commands.values())), help=questions.help)


app = TyperGroup(
    name="effscope",
    commands=Commands(),  # type: ignore[arg-type]  # read only, so any mapping works
    no_args_is_help=True,
    help="Find where a vision model wastes compute, test on your data what can be removed, export the smaller model.",
)
