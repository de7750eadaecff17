"""What all results share: conversion to plain data and back, a main table, and the origin."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast

from effscope.errors import EffscopeError, counted
from effscope.files import write_text
from effscope.results.codec import NONE_AS, check_kind, plain, read
from effscope.results.showing import html_table

if TYPE_CHECKING:
    import pandas as pd

TRAIN_RESULT = "train.json"
PACKAGES = ("effscope", "torch", "torchvision", "numpy")

C = TypeVar("C")


@cache
def version(package: str) -> str:
    """Installed version of a package without importing it; "none" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class Origin(Generic[C]):
    """Where a result comes from: enough to reproduce it.

    Attributes:
        command: the command line of the process.
        config: settings of the command, a frozen class of `effscope.config`; None for commands without settings.
        layout: digest of the model's layout.
        weights: digest of the weights that a training or a search started from.
        data: split of the data set -> its digest.
        seeds: all random seeds.
        versions: package -> version, and Python's.
        machine: system, processor, cores.
    """

    command: str
    config: C | None = field(default=None, metadata={NONE_AS: {}})
    layout: str = ""
    weights: str = ""
    data: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""


def origin(
    config: C | None = None,
    layout: str = "",
    data: dict[str, str] | None = None,
    seeds: tuple[int, ...] = (),
    weights: str = "",
) -> Origin[C]:
    """The origin of a result of this process. Arguments are fields of `Origin`."""
    program = Path(sys.argv[0]).name.replace("__main__.py", "effscope")
    words = [program, *sys.argv[1:]]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Origin(shlex.join(words), config, layout, weights, data or {}, seeds, versions, machine)


@dataclass(frozen=True, repr=False)
class Result:
    """Base of all results. `KIND`: the `result` key of its JSON; `TABLE`: the field that holds the main table; `SHOWN`:
    the columns of it that a notebook shows."""

    KIND: ClassVar[str] = ""
    TABLE: ClassVar[str] = ""
    SHOWN: ClassVar[tuple[str, ...]] = ()

    def lines(self) -> tuple[str, ...]:
        """One to three short lines: what it is a result of, and the numbers that decide, with units."""
        return (self.KIND,)

    def __repr__(self) -> str:
        first, *others = self.lines()
        rows = counted(len(self.to_rows()), "row")
        return "\n".join(
            [f"{type(self).__name__}: {first}", *(f"  {line}" for line in (*others, f"{rows}: .to_frame()"))]
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        (first, *others), rows = self.lines(), self.to_rows()
        columns = [name for name in self.SHOWN if not rows or name in rows[0]]  # results of older versions have fewer
        return html_table((f"{type(self).__name__}: {first}", *others), columns, rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `result`, `format_version`, then the fields. Raises EffscopeError for NaN and infinity."""
        return cast("dict[str, Any]", plain(self))

    def to_rows(self) -> list[dict[str, Any]]:
        """The main table, a dict per row; `to_frame` and csv files show it."""
        return [plain(row) for row in getattr(self, self.TABLE)]

    def to_frame(self) -> pd.DataFrame:
        """The main table as a pandas DataFrame."""
        import pandas as pd  # noqa: PLC0415 - slow import

        return pd.DataFrame(self.to_rows())

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json_text(self.to_dict())

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, completely or not at all; paths in `files` become relative to the file."""
        return save_results(path, [self])

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """The inverse of `to_dict`; also accepts data read from JSON.

        Raises:
            EffscopeError: another kind of result or format version, a missing or unknown key, or a wrong value.
        """
        check_kind(cls.KIND, data)
        return cast("Self", read(cls, data))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote; paths in `files` become relative to the working directory.

        Raises:
            EffscopeError: the file is missing or is not such a result.
        """
        place = Path(path)
        data = read_json(place)
        try:
            return cls.from_dict(data).beside(place)
        except EffscopeError as e:
            raise EffscopeError(f"cannot read {path}: {e}") from None

    def beside(self, path: Path) -> Self:
        """Turn the paths in `files`, which are relative to the file `path`, into paths from the working directory."""
        return self._with_files(lambda file: str(path.parent / file))

    def relative_to(self, path: Path) -> Self:
        """The inverse of `beside`. Folders that are links count as the folders they lead to: `..` leaves those."""
        home = path.parent.resolve()

        def relative(file: str) -> str:
            place = Path(file)
            return Path(os.path.relpath(place.parent.resolve() / place.name, home)).as_posix()

        return self._with_files(relative)

    def _with_files(self, change: Callable[[str], str]) -> Self:
        if all(f.name != "files" for f in fields(self)):
            return self
        files: dict[str, str] = self.files  # type: ignore[attr-defined]
        return replace(self, files={name: change(file) for name, file in files.items()})  # type: ignore[call-arg]


def save_results(path: str | Path, results: Sequence[Result]) -> Path:
    """Write one result as a JSON object, several as a list, completely or not at all; `load_result` reads both."""
    place = Path(path)
    data = [result.relative_to(place).to_dict() for result in results]
    write_text(place, json_text(data[0] if len(data) == 1 else data) + "\n")
    return place


_NUMBERS = re.compile(r"\[\n\s*(?:[-+.\deE]+(?:,\n\s*|\n\s*))+\]")


def json_text(data: Any) -> str:
    """Indented JSON with every list of numbers on one line. Raises ValueError for NaN and infinity."""
    text = json.dumps(data, indent=1, allow_nan=False)
    return _NUMBERS.sub(lambda found: " ".join(found.group().split()).replace("[ ", "[").replace(" ]", "]"), text)


def read_json(path: Path) -> Any:
    """JSON data of a file. Raises EffscopeError if the file is missing or not strict JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as e:
        raise EffscopeError(f"cannot read {path}: {e}") from None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
