"""The command line in this process."""

from __future__ import annotations

import sys

import pytest

from effscope import __main__ as entry


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `effscope words...` in this process."""
    monkeypatch.setattr(sys, "argv", ["effscope", *words])
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    return int(stopped.value.code or 0)
