"""Words that people know from other tools: `data=coco.yaml`, `effscope val`. Each is answered with ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from effscope.errors import EffscopeError

COMMANDS = {
    "val": "effscope eval MODEL --data DATA",
    "validate": "effscope eval MODEL --data DATA",
    "test": "effscope eval MODEL --data DATA --split test",
    "predict": "effscope eval MODEL --data DATA --out DIR, which also draws detections",
    "track": "effscope eval MODEL --data DATA",
    "benchmark": "effscope latency MODEL, or effscope eval MODEL --data DATA --runtime onnx",
    "profile": "effscope latency MODEL",
    "info": "effscope cost MODEL",
    "tune": "effscope search MODEL --data DATA",
    "prune": "effscope search MODEL --data DATA",
    "help": "effscope --help",
    "version": "effscope --version",
}
"""Command of another tool -> ours."""

TASKS = frozenset({"detect", "segment", "classify", "pose", "obb"})
"""Words that stand before the command in Ultralytics' command line."""

_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def unknown_command(word: str, following: Sequence[str], known: Sequence[str]) -> EffscopeError:
    """The error for an unknown command: it names the nearest of ours.

    Args:
        word: the word in place of a command.
        following: the words after it.
        known: our commands.
    """
    if word in TASKS:
        after = following[0] if following else ""
        use = COMMANDS.get(after, f"effscope {after} ..." if after in known else "effscope train, eval or rank")
        return EffscopeError(f"effscope has no command '{word}', it reads detectors: use {use}")
    if word in COMMANDS:
        return EffscopeError(f"effscope has no command '{word}': use {COMMANDS[word]}")
    setting = _SETTING.fullmatch(word)
    if setting:
        return EffscopeError(f"effscope needs a command before '{word}': {', '.join(known)}  (effscope --help)")
    near = get_close_matches(word, known, n=2)
    meant = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(known)}"
    return EffscopeError(f"effscope has no command '{word}': {meant}  (effscope --help)")


def check_settings(path: str, params: Sequence[Any], words: Sequence[str]) -> None:
    """Refuse settings like `data=coco.yaml`, with the command as it is written here.

    Args:
        path: the command, "effscope train".
        params: its parameters.
        words: its words.

    Raises:
        EffscopeError: a word is such a setting, and no file has this name.
    """
    options = {opt: param for param in params for opt in (*param.opts, *param.secondary_opts) if opt.startswith("-")}
    asked = [(word, found if positional else None) for word, positional, found in _read(words, options)]
    settings = [found for _, found in asked if found]
    if not settings:
        return
    models, rest, unknown = list[str](), list[str](), list[str]()
    for word, found in asked:
        name, value = found.groups() if found else ("", word)
        flag = f"--{name.lower().replace('_', '-')}"
        if not found:
            (models if not rest and not word.startswith("-") else rest).append(word)
        elif flag in options:
            on = not getattr(options[flag], "is_flag", False) or value.lower() not in ("false", "0", "no")
            rest += [] if not on else [flag] if getattr(options[flag], "is_flag", False) else [flag, value]
        elif name == "model":
            models.append(value)
        else:
            unknown.append(name)
    no = f"; it has no setting {', '.join(unknown)}" if unknown else ""
    raise EffscopeError(
        f"'{settings[0].group()}': settings are options here, write: {path} {shlex.join([*models, *rest])}{no}  "
        f"({path} --help)"
    )


def _read(words: Sequence[str], options: dict[str, Any]) -> Iterator[tuple[str, bool, re.Match[str] | None]]:
    """Each word, whether it is positional, and the match of a setting that is no file."""
    value_follows = False
    for word in words:
        positional = not value_follows and not word.startswith("-")
        param = options.get(word)
        value_follows = not value_follows and param is not None and not getattr(param, "is_flag", False)
        found = _SETTING.fullmatch(word)
        yield word, positional, found if found and not Path(word).exists() else None


def said_usage(error: Any) -> str:
    """The message of typer's usage error, in one line, with the command whose help answers it."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "effscope"
    name, near = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    message = str(error.format_message())
    if name is not None and near is not None:
        message = f"no option {name}" + (f": did you mean {' or '.join(near[:2])}?" if near else "")
    return f"{' '.join(message.split())}  ({path} --help)"
