"""What every result has: plain data there and back, a table, and where it comes from."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from effscope.errors import EffscopeError
from effscope.files import write_text
from effscope.results.frozen import frozen

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
TRAIN_RESULT = "train.json"
PACKAGES = ("effscope", "torch", "torchvision", "numpy")


@cache
def version(package: str) -> str:
    """Installed version of a package without importing it; "none" if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


@dataclass(frozen=True)
class Origin:
    """Where a result comes from: enough to make it again."""

    command: str
    config: dict[str, Any] = field(default_factory=dict)
    layout: str = ""
    data: str = ""
    seeds: tuple[int, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    format_version: int = FORMAT_VERSION


def origin(
    config: dict[str, Any] | None = None, layout: str = "", data: str = "", seeds: tuple[int, ...] = ()
) -> Origin:
    """The origin of a result made now, by this process."""
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Origin(shlex.join(words), config or {}, layout, data, seeds, versions, machine)


@dataclass(frozen=True)
class Result:
    """Base of all results. `TABLE` names the field that holds the rows of `to_frame`."""

    TABLE: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data with the JSON keys of the command contract, and `origin`; without fields marked `json: False`."""
        data = asdict(self)
        for f in fields(self):
            if not f.metadata.get("json", True):
                del data[f.name]
        return data

    def to_frame(self) -> pd.DataFrame:
        """The result's main table."""
        import pandas as pd  # noqa: PLC0415 - slow import, only when asked for

        return pd.DataFrame(self.to_dict()[self.TABLE])

    def to_json(self) -> str:
        """`to_dict` as indented JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, whole or not at all."""
        write_text(Path(path), self.to_json() + "\n")
        return Path(path)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, also after a trip through JSON. Raises EffscopeError if keys are missing."""
        names = {f.name for f in fields(cls)}
        try:
            given = {k: cls._row(k, v) for k, v in data.items() if k in names}
            return cls(**given)
        except (TypeError, AttributeError, KeyError, ValueError) as e:
            raise EffscopeError(f"this is not a {cls.__name__}: {e}") from None

    @classmethod
    def _row(cls, name: str, value: Any) -> Any:
        if name == "origin":
            return Origin(**{**value, "seeds": tuple(value["seeds"])})
        row = cls.ROWS.get(name)
        if row is not None and issubclass(row, Result):
            return tuple(row.from_dict(r) for r in value)
        if row is not None:
            return tuple(row(**{k: frozen(v) for k, v in r.items()}) for r in value)
        return frozen(value)

    ROWS: ClassVar[dict[str, type]] = {}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises EffscopeError for a file that is missing or something else."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as e:
            raise EffscopeError(f"cannot read {path}: {e}") from None
