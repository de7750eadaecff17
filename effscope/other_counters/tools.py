"""The table of the other counters, one module for each."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from effscope.errors import EffscopeError, unknown
from effscope.other_counters import fvcore, paper, thop, torch, ultralytics
from effscope.other_counters.counter import Counter, Tool
from effscope.results import version

COUNTERS: dict[str, Counter] = {
    "paper": paper.COUNTER,
    "fvcore": fvcore.COUNTER,
    "thop": thop.COUNTER,
    "ultralytics": ultralytics.COUNTER,
    "torch": torch.COUNTER,
}
"""Name in `effscope cost --as` -> counter."""

TOOLS: dict[str, Tool] = {name: counter.tool for name, counter in COUNTERS.items() if counter.tool is not None}
"""Counters that can run on a module."""


def counter(name: str, *, detector: bool) -> Counter:
    """The counter of that name for a detector, or for another model. Raises EffscopeError for an unknown name."""
    if name not in COUNTERS:
        raise unknown("`counter`", name, COUNTERS)
    found = COUNTERS[name]
    return found if detector or found.backbones is None else found.backbones


def check_installed(names: Iterable[str] = ()) -> None:
    """Check that tools can run here. Imports none of them.

    Args:
        names: counters; empty means every one that is a tool.

    Raises:
        EffscopeError: a counter is no tool that can run, or a tool is not installed.
    """
    asked = list(names) or list(TOOLS)
    for name in asked:
        if counter(name, detector=True).tool is None:
            raise EffscopeError(f"`check` runs {', '.join(TOOLS)}: {name} cannot run on a module")
    missing = [name for name in asked if not _installed(TOOLS[name].distribution)]
    if missing:
        there = [name for name in TOOLS if name not in missing and _installed(TOOLS[name].distribution)]
        other = f"; or check one that is installed, with `counter` {' or '.join(there)}" if there else ""
        raise EffscopeError(
            f'`check` needs {" and ".join(missing)}, not installed: pip install "effscope[crosscheck]"{other}'
        )


def _installed(distribution: str) -> bool:
    """Whether the package is there; a module of this name can also belong to another distribution."""
    return find_spec(distribution) is not None and version(distribution) != "none"
