"""The files that a model was exported to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from effscope.config import ExportConfig
from effscope.results.base import Origin, Result
from effscope.results.showing import listed


@dataclass(frozen=True, repr=False)
class ExportResult(Result):
    """The files of an exported model, format -> path, for images of `imgsz` px."""

    model: str
    imgsz: int
    files: dict[str, str]
    notes: tuple[str, ...]
    origin: Origin[ExportConfig]

    KIND: ClassVar[str] = "export"
    SHOWN: ClassVar = ("format", "file")

    def lines(self) -> tuple[str, ...]:
        """The model, and its files."""
        return f"{self.model} for images of {self.imgsz} px: {listed(tuple(self.files))}", listed(
            tuple(self.files.values()), 3
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per file."""
        return [{"format": name, "file": file} for name, file in self.files.items()]
