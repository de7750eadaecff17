"""The sides of a comparison: names of files, and short names that tell them apart. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path

from effscope.errors import EffscopeError


def named(side: str | Sequence[str]) -> tuple[str, ...]:
    """The files of one side: a list, names with commas between them, or a pattern with `*`.

    Raises:
        EffscopeError: no name, or a pattern that no file matches.
    """
    words = [side] if isinstance(side, str) and side.strip() and Path(side).exists() else _words(side)
    found: list[str] = []
    for word in words:
        is_pattern = set("*?[") & set(word) and not Path(word).exists()
        files = sorted(glob(word)) if is_pattern else [word]  # noqa: PTH207 - absolute patterns too
        if not files:
            raise EffscopeError(f"no file matches {word}")
        found += files
    if not found:
        raise EffscopeError("one side has no model: give a weights file or a run folder")
    return tuple(found)


def told_apart(files: Sequence[str]) -> tuple[str, ...]:
    """The shortest ends of paths that tell different files apart: "seed0/model", "seed1/model". The suffix
    of a file is left out if the rest tells them apart."""
    full = [Path(file) if Path(file).name not in ("", "..") else Path(file).resolve() for file in files]
    bare = [path if path.is_dir() else path.with_suffix("") for path in full]
    paths = bare if len(set(bare)) == len(set(full)) else full
    for n in range(1, max(len(path.parts) for path in paths) + 1):
        ends = ["/".join(path.parts[-n:]) for path in paths]
        if len(set(ends)) == len(set(paths)):
            return tuple(ends)
    return tuple(files)


def _words(side: str | Sequence[str]) -> list[str]:
    words = side.split(",") if isinstance(side, str) else side
    return [word.strip() for word in words if word.strip()]
