"""Which module holds which command. One that is not asked for is neither imported nor built."""

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
    "search": "training",
    "export": "exporting",
    "zoo": "counting",
}
"""Command -> the module here with the function of its name, in the order of `--help`."""


class Command(TyperCommand):
    """A command before which nothing is collected: what was imported for it is left alone, at the exit too."""

    def invoke(self, ctx: Any) -> Any:
        """Run it, with the garbage collector on."""
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
    """One command with the options of all questions; it calls the function of the question that is asked."""
    commands = {asked: _single(name, function) for asked, function in questions.functions.items()}

    class Asking(Command):
        def answer(self, ctx: Any) -> Any:
            return answer(questions.choose(ctx.params), commands, ctx)

    return Asking(name, params=merged_params(list(commands.values())), help=questions.help)


app = TyperGroup(
    name="effscope",
    commands=Commands(),  # type: ignore[arg-type]  # read only, so any mapping will do
    no_args_is_help=True,
    help="Find where a vision model wastes compute, prove on your data what can go, take the smaller model home.",
)
