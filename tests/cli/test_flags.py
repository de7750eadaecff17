"""Messages of the engines name settings; the command line prints flags, and only flags that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import effscope
from effscope.cli.app import app
from effscope.cli.flags import NO_FLAGS, OTHERWISE, as_flags
from effscope.config import FAMILIES, MOVE_NAMES
from effscope.searching.policies.greedy import ORDERS
from effscope.searching.rules import RULES

SOURCES = Path(effscope.__file__).parent


def test_settings_become_flags() -> None:
    assert as_flags("give a smaller `imgsz` or `limit_train`") == "give a smaller --imgsz or --limit-train"
    assert as_flags("unknown `convention` 'voc'; `centred` needs `activations`") == (
        "unknown --as 'voc'; --uncentred needs --activations"
    )
    assert as_flags("run `effscope zoo`, `recipe.lr` differs, `spectra`") == (
        "run `effscope zoo`, `recipe.lr` differs, `spectra`"
    )


def test_every_setting_that_a_message_names_has_a_flag() -> None:
    flags = {flag for command in app.commands.values() for param in command.params for flag in param.opts}
    flags |= {flag for command in app.commands.values() for param in command.params for flag in param.secondary_opts}
    named = set()
    for path in SOURCES.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                named |= set(re.findall(r"`([a-z][a-z0-9_]*)`", node.value))
    assert {"imgsz", "out", "base_epochs"} <= named
    unknown = {name for name in named if name not in NO_FLAGS and name not in OTHERWISE}
    assert not {name for name in unknown if as_flags(f"`{name}`") not in flags}
    assert all(flag in flags or flag == "MODEL" for flag in OTHERWISE.values())


def test_help_names_every_word_that_a_search_takes() -> None:
    helps = {param.name: str(getattr(param, "help", "")) for param in app.commands["search"].params}
    for setting, words in {"moves": (*MOVE_NAMES, *FAMILIES), "order": ORDERS, "rule": RULES}.items():
        assert not set(words) - set(re.findall(r"[a-z0-9-]+", helps[setting])), setting
