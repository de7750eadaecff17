"""Which module holds which command. One that is not asked for is neither imported nor built."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

HOMES = {
    "rank": "ranking",
    "cost": "counting",
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
    single = typer.Typer(add_completion=False)
    single.command(name, cls=Command)(getattr(import_module(f"effscope.cli.{home}"), name))
    return get_command(single)


app = TyperGroup(
    name="effscope",
    commands=Commands(),  # type: ignore[arg-type]  # read only, so any mapping will do
    no_args_is_help=True,
    help="Find where a vision model wastes compute, prove on your data what can go, take the smaller model home.",
)
