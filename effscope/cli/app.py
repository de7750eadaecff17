"""The table of commands and their modules. A command is imported and built on its first use."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from effscope.cli.habits import check_settings, unknown_command
from effscope.cli.options import OUTPUT
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

MODELS = ("model", "models", "a", "b", "base", "scale", "weights", "against")
"""Parameters that name models."""

INPUTS = (*MODELS, "data", "activations", "latency_table")
"""Parameters that name files or folders of the user."""

PLACES = ("json", "csv", "out")
"""Parameters that name where to write."""

RUNS = ("train", "search")
"""Commands that write a model into `out`."""

ARCHITECTURE_ONLY = ("cost", "diff", "latency")
"""Commands whose answer does not depend on the weights."""


class Command(TyperCommand):
    """A command that turns the garbage collector on when it starts; imported objects are never collected."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command."""
        check_settings(ctx.command_path, self.get_params(ctx), args)
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help, in the panel of the output."""
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = OUTPUT
        return option

    def invoke(self, ctx: Any) -> Any:
        """Run the command with the garbage collector on."""
        gc.freeze()
        gc.enable()
        _check_places(ctx)
        quick = ctx.command.name == "cost"
        if not quick:
            _say_assumed(ctx)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "there is no file '", UserWarning)  # Python's form of the same lines
            answer = self.answer(ctx)
        if quick:  # afterwards, so that an error is one line
            _say_assumed(ctx)
        return answer

    def answer(self, ctx: Any) -> Any:
        """Call the command's function."""
        return super().invoke(ctx)


def _check_places(ctx: Any) -> None:
    """Refuse places where the command's results cannot be written, or would replace what was given."""
    if any(ctx.params.get(name) is not None for name in PLACES):
        from effscope.cli.saving import OF_RUNS, check_places  # noqa: PLC0415

        given = [ctx.params[name] for name in INPUTS if ctx.params.get(name)]
        check_places(ctx.params, given, OF_RUNS if ctx.command.name in RUNS else ())


def _say_assumed(ctx: Any) -> None:
    """Say on stderr where the name of a file that does not exist stands for a built-in model.

    A wrong name is left to the command. The cost of a model says it above its table, so not twice on one terminal.
    """
    tabled = ctx.command.name == "cost" and not ctx.params.get("quiet") and ctx.params.get("json") != "-"
    if tabled and sys.stdout.isatty() and sys.stderr.isatty():
        return
    given = [ctx.params[name] for name in MODELS if ctx.params.get(name)]
    words = [word for value in given for word in ([value] if isinstance(value, str) else value)]
    if not any("." in word for word in words):
        return
    from effscope.errors import EffscopeError  # noqa: PLC0415
    from effscope.models.naming import find_model  # noqa: PLC0415 - the built-in models

    for word in words:
        try:
            assumed = find_model(word, weights_matter=ctx.command.name not in ARCHITECTURE_ONLY).assumed
        except EffscopeError:
            continue
        if assumed:
            sys.stderr.write(f"{assumed}\n")


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


class Group(TyperGroup):
    """All commands. Words for commands of other tools are answered with ours."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of the first word.

        Raises:
            EffscopeError: there is no such command.
        """
        if args and args[0] not in HOMES and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise unknown_command(args[0], args[1:], list(HOMES))
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line, or answer the shell's request for completions."""
        if any(name.startswith("_EFFSCOPE") and name.endswith("_COMPLETE") for name in os.environ):
            from typer.completion import get_completion_inspect_parameters  # noqa: PLC0415 - only for completions

            get_completion_inspect_parameters()  # teaches typer the shells
        return super().main(*args, **options)


def _version(value: bool) -> None:
    if value:
        from effscope import __version__  # noqa: PLC0415

        print(f"effscope {__version__}")
        raise typer.Exit


def _completion(ctx: typer.Context, param: typer.CallbackParam, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from typer import completion  # noqa: PLC0415

        completion.get_completion_inspect_parameters()  # teaches typer the shells
        called = completion.install_callback if param.name == "install" else completion.show_callback
        called(ctx, param, value)


def _start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    install: Annotated[
        bool, typer.Option("--install-completion", callback=_completion, is_eager=True, hidden=True)
    ] = False,
    show: Annotated[bool, typer.Option("--show-completion", callback=_completion, is_eager=True, hidden=True)] = False,
) -> None:
    """Options before the command: each does one thing and ends."""


app = Group(
    name="effscope",
    commands=Commands(),  # type: ignore[arg-type]  # read only, so any mapping works
    params=_single("effscope", _start).params,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="Find where a vision model wastes compute, test on your data what can be removed, export the smaller model.",
    epilog="effscope COMMAND --help lists the options of a command. With --install-completion the Tab key completes "
    "commands and options.",
)
